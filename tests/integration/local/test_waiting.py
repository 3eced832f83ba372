"""The pause between two polls of a session's waiters."""

import gc
import threading
import time

import pytest

from infra.local.waiting import Stopped
from tests.integration.local.conftest import StandIns

ITEMS = "atoll-local-session-items"


def write_item(stand_ins: StandIns, session_id: str, item: str = "EVENT#1") -> None:
    stand_ins.client("dynamodb").put_item(
        TableName=ITEMS, Item={"sessionId": {"S": session_id}, "item": {"S": item}, "at": {"N": str(time.time_ns())}}
    )


def later(delay_s: float, action: object) -> threading.Timer:
    timer = threading.Timer(delay_s, action)  # type: ignore[arg-type]
    timer.start()
    return timer


def waited_s(stand_ins: StandIns, session_id: str, remaining_s: float) -> float:
    watch = stand_ins.stack.services.watch(session_id)
    watch.arm()
    began_s = time.monotonic()
    watch.wait(0.3, remaining_s)
    return time.monotonic() - began_s


@pytest.mark.parametrize("what", ["item", "record", "batch"])
def test_a_wait_ends_when_something_is_written_to_the_session(stand_ins: StandIns, what: str) -> None:
    batch = {ITEMS: [{"PutRequest": {"Item": {"sessionId": {"S": "s"}, "item": {"S": "AGENT#a"}}}}]}
    writes = {
        "item": lambda: write_item(stand_ins, "s"),
        "record": lambda: stand_ins.put_session("s", status="closing"),
        "batch": lambda: stand_ins.client("dynamodb").batch_write_item(RequestItems=batch),
    }
    timer = later(0.2, writes[what])

    assert 0.15 <= waited_s(stand_ins, "s", 10) < 1.0
    timer.join()


def test_what_was_written_between_arming_and_waiting_ends_the_wait(stand_ins: StandIns) -> None:
    watch = stand_ins.stack.services.watch("s")
    watch.arm()
    write_item(stand_ins, "s")

    began_s = time.monotonic()
    watch.wait(0.3, 10)

    assert time.monotonic() - began_s < 0.2


def test_what_is_written_to_another_session_or_refused_ends_nothing(stand_ins: StandIns) -> None:
    def refused() -> None:
        write_item(stand_ins, "other")
        client = stand_ins.client("dynamodb")
        with pytest.raises(client.exceptions.ConditionalCheckFailedException):
            client.put_item(
                TableName=ITEMS,
                Item={"sessionId": {"S": "s"}, "item": {"S": "x"}},
                ConditionExpression="attribute_exists(sessionId)",
            )

    timer = later(0.05, refused)
    assert waited_s(stand_ins, "s", 0.4) >= 0.4
    timer.join()


def test_a_burst_of_writes_is_one_wake_up_each_20_ms(stand_ins: StandIns) -> None:
    stop = threading.Event()

    def burst() -> None:
        while not stop.is_set():
            write_item(stand_ins, "s")

    writer = threading.Thread(target=burst)
    writer.start()
    watch = stand_ins.stack.services.watch("s")
    wakes, end_s = 0, time.monotonic() + 0.5
    while time.monotonic() < end_s:
        watch.arm()
        watch.wait(0.05, 10)
        wakes += 1
    stop.set()
    writer.join()

    assert 2 <= wakes <= 26


def test_nothing_is_kept_of_sessions_without_waiters(stand_ins: StandIns) -> None:
    for number in range(50):
        waited_s(stand_ins, f"s{number}", 0)
        write_item(stand_ins, f"s{number}")
    gc.collect()

    assert len(stand_ins.stack.watches) == 0


def test_the_end_of_the_stack_ends_every_wait(stand_ins: StandIns) -> None:
    ended: list[str] = []

    def wait() -> None:
        try:
            waited_s(stand_ins, "s", 60)
        except Stopped:
            ended.append("stopped")

    threads = [threading.Thread(target=wait) for _ in range(10)]
    for thread in threads:
        thread.start()
    stand_ins.stack.stop()
    for thread in threads:
        thread.join(10)

    assert ended == ["stopped"] * 10
