"""A session's events as a listing: one order, read once each, from any place on."""

import threading
import time
from typing import Any

import pytest

from chalicelib.store.log import SESSION_CLOSING, Ticket
from infra.local.stack import LocalStack
from tests.client import Client, eventually, session, sleeper
from tests.integration.api.calls import calls_to_aws
from tests.integration.api.test_pages import deferred, talk

pytestmark = pytest.mark.xdist_group("api")


def read(client: Client, path: str, after: str = "0", limit: int = 1000) -> tuple[list[Any], str]:
    """Read one page of a session's events, and its cursor."""
    answer = client.call("GET", f"{path}/events?after={after}&limit={limit}")
    assert answer.status == 200, answer
    return answer.body, answer.headers["Next-Cursor"]


def texts(events: list[Any]) -> list[str]:
    return [event["message"]["text"] for event in events if event["type"] == "thread_message_sent"]


def test_a_session_is_told_event_by_event(client: Client, namespace: str) -> None:
    path = deferred(client, namespace, "a", "b")
    thread = talk(client, path, "hello", name="first")
    puppet = path.replace("/local/session/", "/puppet/") + "/a/thread"
    assert client.call("POST", f"{puppet}/participant", {"threadId": thread, "participantName": "b"}).status == 200
    assert client.call("DELETE", puppet, {"threadId": thread, "summary": "done"}).status == 200

    found, _ = read(client, path)

    assert [event["type"] for event in found] == [
        "thread_created",
        "thread_message_sent",
        "thread_participant_added",
        "thread_closed",
    ]
    created, sent, added, closed = found
    assert created["thread"]["name"] == "first"
    assert sent["message"]["text"] == "hello"
    assert (added["name"], added["threadId"]) == ("b", thread)
    assert closed["summary"] == "done"
    assert found == sorted(found, key=lambda event: str(event["timestamp"]))


def test_pages_go_on_where_the_last_one_ended(client: Client, namespace: str) -> None:
    path = deferred(client, namespace, "a")
    talk(client, path, *map(str, range(5)))
    whole, end = read(client, path)

    parts, cursor = [], "0"
    while cursor != end:
        page, cursor = read(client, path, cursor, limit=2)
        assert len(page) <= 2
        parts += page
    assert parts == whole

    assert read(client, path, end) == ([], end)
    talk(client, path, "later")
    news, _ = read(client, path, end)
    assert [event["type"] for event in news] == ["thread_created", "thread_message_sent"]


def test_who_says_no_limit_gets_a_page_too(client: Client, namespace: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = deferred(client, namespace, "a")
    talk(client, path, *map(str, range(5)))
    monkeypatch.setattr("chalicelib.api.paging.MAX_LIMIT", 2)
    answer = client.call("GET", f"{path}/events")
    assert (len(answer.body), answer.headers["Next-Cursor"]) == (2, "2")


def test_a_session_without_events_has_a_cursor_too(client: Client, namespace: str) -> None:
    assert read(client, deferred(client, namespace)) == ([], "0")


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "1" * 14, "", "%C2%B2"])
def test_a_cursor_that_is_no_position_is_refused(client: Client, namespace: str, after: str) -> None:
    path = deferred(client, namespace)
    answer = client.call("GET", f"{path}/events?after={after}")
    assert answer.status == 400
    assert "after" in answer.body["message"]


def test_who_reads_while_others_write_misses_nothing_and_gets_nothing_twice(client: Client, namespace: str) -> None:
    path = deferred(client, namespace, "a")
    writers = [
        threading.Thread(target=talk, args=(client, path, *(f"{name} {number}" for number in range(25))))
        for name in "pqrs"
    ]
    for writer in writers:
        writer.start()
    found: list[Any] = []
    cursor = "0"
    deadline = time.monotonic() + 30
    while len(texts(found)) < 100 and time.monotonic() < deadline:
        page, cursor = read(client, path, cursor, limit=7)
        found += page
    for writer in writers:
        writer.join()

    assert sorted(texts(found)) == sorted(f"{name} {number}" for name in "pqrs" for number in range(25))
    assert found == read(client, path)[0]


def test_an_entry_whose_writer_is_slow_is_not_passed(client: Client, stack: LocalStack, namespace: str) -> None:
    """Its position is closed before anything behind it is shown, so it cannot appear there later."""
    path = deferred(client, namespace, "a")
    session_id = path.rsplit("/", 1)[1]
    stack.services.log.draw(session_id, expires_at=1 << 40)
    talk(client, path, "behind it")

    found, cursor = read(client, path)

    assert texts(found) == ["behind it"]
    assert cursor == "3"  # the closed position, the thread, the message


def test_what_happens_after_the_end_is_not_passed_either(stack: LocalStack, client: Client, namespace: str) -> None:
    path = deferred(client, namespace, "a")
    session_id, log = path.rsplit("/", 1)[1], stack.services.log

    def append(event: dict[str, Any], ticket: Ticket | None = None) -> None:
        log.append(session_id, lambda _: event, expires_at=1 << 40, ticket=ticket)

    append({"type": SESSION_CLOSING, "timestamp": "2026-01-01T00:00:00.000Z"})
    late = log.draw(session_id, expires_at=1 << 40)
    append({"type": "runtime_stopped", "name": "b", "timestamp": "2026-01-01T00:00:00.001Z"})

    found, cursor = read(client, path)
    append({"type": "runtime_stopped", "name": "a", "timestamp": "2026-01-01T00:00:00.002Z"}, late)

    assert [event["name"] for event in found + read(client, path, cursor)[0]] == ["b", "a"]


def test_the_end_of_a_session_is_told(client: Client, namespace: str) -> None:
    mode = {"mode": "hold_after_exit", "duration": 60_000}
    path = client.create(session(sleeper(seconds=0), namespace=namespace, persistenceMode=mode))
    client.wait_for_status(path, "closing", within_s=20)
    kinds = ["runtime_started", "runtime_stopped"]
    eventually(lambda: [event["type"] for event in read(client, path)[0]] == kinds, 10, "the agent's life is told")


def test_reading_on_costs_two_calls(client: Client, namespace: str) -> None:
    path = deferred(client, namespace)
    talk(client, path, "one")
    _, cursor = read(client, path)
    with calls_to_aws() as calls:
        assert read(client, path, cursor) == ([], cursor)
    assert calls == ["BatchGetItem", "Query"]


def test_events_are_as_strict_as_coral_writes_them(stack: LocalStack, client: Client, namespace: str) -> None:
    """What an older version has put into an event of the log does not reach a client that refuses unknown keys."""
    path = deferred(client, namespace)
    old = {"type": "runtime_stopped", "name": "a", "timestamp": "2026-01-01T00:00:00.000Z", "unknown": 1}
    stack.services.log.append(path.rsplit("/", 1)[1], lambda _: old, expires_at=1 << 40)
    assert read(client, path)[0] == [{key: old[key] for key in ("type", "timestamp", "name")}]


@pytest.mark.parametrize("where", ["/api/v1/local/session/elsewhere/x", "{path}x"])
def test_an_unknown_session_has_no_events(client: Client, namespace: str, where: str) -> None:
    path = deferred(client, namespace)
    assert client.call("GET", f"{where.format(path=path)}/events").status == 404


def test_events_of_another_tenant_are_refused(client: Client, narrow: Client, namespace: str) -> None:
    assert narrow.call("GET", f"{deferred(client, namespace)}/events").status == 403
