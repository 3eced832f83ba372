"""The state machines of ``infra/``, run as they are."""

import datetime
import functools
import json
import time
from typing import Any

import pytest

from infra.local.stack import TEMPLATES
from tests.integration.local.conftest import StandIns, eventually

ENDED_LONG_AGO = {"holdUntil": "2020-01-01T00:00:00Z"}


class Lifecycle:
    """The three functions of session-lifecycle, with the times of their calls."""

    def __init__(self, stand_ins: StandIns) -> None:
        self.calls: list[tuple[str, float, dict[str, Any]]] = []
        self.answers: dict[str, list[Any]] = {}
        self.stand_ins = stand_ins
        for name in ("run_agents", "close_session", "remove_session"):
            stand_ins.on(name, functools.partial(self._call, name))

    def _call(self, name: str, event: dict[str, Any], _context: object) -> Any:
        self.calls.append((name, time.time(), event))
        waiting = self.answers.get(name)
        if waiting:
            answer = waiting.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return {"run_agents": {}, "close_session": ENDED_LONG_AGO, "remove_session": {"done": True}}[name]

    def start(self, name: str = "s", ttl_s: int = 60) -> str:
        content = {"namespace": "n", "sessionId": name, "ttlSeconds": ttl_s}
        return self.stand_ins.start("session-lifecycle", name, content)

    def of(self, name: str) -> list[tuple[float, dict[str, Any]]]:
        return [(at_s, event) for called, at_s, event in list(self.calls) if called == name]

    def end_run(self) -> None:
        token = eventually(lambda: self.of("run_agents"))[-1][1]["taskToken"]
        self.stand_ins.client("stepfunctions").send_task_success(taskToken=token, output="{}")


@pytest.fixture
def lifecycle(stand_ins: StandIns) -> Lifecycle:
    return Lifecycle(stand_ins)


def test_a_session_runs_closes_and_is_removed(stand_ins: StandIns, lifecycle: Lifecycle) -> None:
    execution = lifecycle.start()
    lifecycle.end_run()

    assert stand_ins.finished(execution) == "SUCCEEDED"
    assert [name for name, _, _ in lifecycle.calls] == ["run_agents", "close_session", "remove_session"]
    assert lifecycle.of("close_session")[0][1] == {"namespace": "n", "sessionId": "s", "error": ""}
    assert lifecycle.of("remove_session")[0][1] == {"namespace": "n", "sessionId": "s"}


def test_the_end_of_a_run_is_seen_at_once(lifecycle: Lifecycle) -> None:
    lifecycle.start("warm")
    lifecycle.end_run()
    eventually(lambda: lifecycle.of("remove_session"))
    lifecycle.start()
    eventually(lambda: len(lifecycle.of("run_agents")) == 2)

    ended_s = time.time()
    lifecycle.end_run()

    eventually(lambda: len(lifecycle.of("close_session")) == 2)
    assert lifecycle.of("close_session")[1][0] - ended_s < 0.5


def test_the_time_to_live_ends_a_run(stand_ins: StandIns, lifecycle: Lifecycle) -> None:
    execution = lifecycle.start(ttl_s=1)

    assert stand_ins.finished(execution) == "SUCCEEDED"
    [(started_s, _)] = lifecycle.of("run_agents")
    [(closed_s, event)] = lifecycle.of("close_session")
    assert event["error"] == "States.Timeout"
    assert 0.9 <= closed_s - started_s <= 2.0


def test_a_hold_ends_on_the_millisecond_and_not_before(
    stand_ins: StandIns, lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    # UTC it is, wherever the machine stands.
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    until = datetime.datetime.now(tz=datetime.UTC) + datetime.timedelta(seconds=1.3)
    text = until.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    lifecycle.answers["close_session"] = [{"holdUntil": text}]

    execution = lifecycle.start()
    lifecycle.end_run()

    try:
        assert stand_ins.finished(execution) == "SUCCEEDED"
    finally:
        monkeypatch.undo()
        time.tzset()
    late_s = lifecycle.of("remove_session")[0][0] - until.timestamp()
    assert -0.001 <= late_s <= 1.0


def test_a_run_that_fails_is_tried_again(stand_ins: StandIns, lifecycle: Lifecycle) -> None:
    lifecycle.answers["run_agents"] = [ValueError("not yet")]

    execution = lifecycle.start()
    eventually(lambda: len(lifecycle.of("run_agents")) == 2)
    lifecycle.end_run()

    assert stand_ins.finished(execution) == "SUCCEEDED"
    tokens = {event["taskToken"] for _, event in lifecycle.of("run_agents")}
    assert len(tokens) == 2
    assert lifecycle.of("close_session")[0][1]["error"] == ""


def _retries_of(state: str) -> int:
    machine = json.loads((TEMPLATES / "session-lifecycle.asl.json").read_text())
    return int(machine["States"][state]["Retry"][0]["MaxAttempts"])


def test_a_run_that_cannot_be_ends_in_closing(
    stand_ins: StandIns, lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.local.step_functions.asl.pause_s", lambda *_: 0)
    tries = 1 + _retries_of("RunAgents")
    lifecycle.answers["run_agents"] = [ValueError("never") for _ in range(tries)]

    execution = lifecycle.start()

    assert stand_ins.finished(execution) == "SUCCEEDED"
    assert len(lifecycle.of("run_agents")) == tries
    assert lifecycle.of("close_session")[0][1]["error"] == "ValueError"


def test_closing_and_removing_are_tried_until_they_are_done(stand_ins: StandIns, lifecycle: Lifecycle) -> None:
    lifecycle.answers["close_session"] = [ValueError("throttled"), ENDED_LONG_AGO]
    lifecycle.answers["remove_session"] = [ValueError("throttled"), {"done": False}, {"done": False}, {"done": True}]

    execution = lifecycle.start()
    lifecycle.end_run()

    assert stand_ins.finished(execution) == "SUCCEEDED"
    assert len(lifecycle.of("close_session")) == 2
    assert len(lifecycle.of("remove_session")) == 4


def test_a_name_is_used_once(stand_ins: StandIns, lifecycle: Lifecycle) -> None:
    execution = lifecycle.start()
    lifecycle.end_run()
    stand_ins.finished(execution)

    client = stand_ins.client("stepfunctions")
    with pytest.raises(client.exceptions.ExecutionAlreadyExists):
        lifecycle.start()


def test_a_token_that_is_over_is_refused_as_on_aws(stand_ins: StandIns, lifecycle: Lifecycle) -> None:
    execution = lifecycle.start()
    lifecycle.end_run()
    stand_ins.finished(execution)

    client = stand_ins.client("stepfunctions")
    with pytest.raises(client.exceptions.TaskTimedOut):
        client.send_task_success(taskToken=lifecycle.of("run_agents")[0][1]["taskToken"], output="{}")


def test_many_sessions_run_beside_each_other_and_finished_ones_are_forgotten(
    stand_ins: StandIns, lifecycle: Lifecycle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.local.step_functions.service.REMEMBERED", 5)
    for number in range(20):
        lifecycle.start(f"s{number}")
    eventually(lambda: len(lifecycle.of("run_agents")) == 20)
    for _, event in lifecycle.of("run_agents"):
        stand_ins.client("stepfunctions").send_task_success(taskToken=event["taskToken"], output="{}")

    eventually(lambda: len(lifecycle.of("remove_session")) == 20)
    arn = "arn:aws:states:us-east-1:123456789012:stateMachine:atoll-local-session-lifecycle"
    listed = stand_ins.client("stepfunctions").list_executions
    eventually(lambda: len(listed(stateMachineArn=arn)["executions"]) == 5)


def test_a_webhook_is_tried_again_when_its_time_has_come(stand_ins: StandIns) -> None:
    calls: list[float] = []
    next_s = time.time() + 1.0

    def deliver(event: dict[str, Any], context: Any) -> dict[str, Any]:
        calls.append(time.time())
        if len(calls) == 1:
            moment = datetime.datetime.fromtimestamp(next_s, tz=datetime.UTC)
            return {"state": "retry", "nextAttemptAt": moment.isoformat(timespec="milliseconds")[:-6] + "Z"}
        return {"state": "delivered"}

    stand_ins.on("deliver_webhook", deliver)

    execution = stand_ins.start("webhook-delivery", "d", {"deliveryId": "d", "round": 0})

    assert stand_ins.finished(execution) == "SUCCEEDED"
    assert len(calls) == 2
    assert -0.002 <= calls[1] - next_s <= 1.0


@pytest.mark.parametrize(("state", "status"), [("superseded", "SUCCEEDED"), ("failed", "FAILED")])
def test_a_delivery_ends_as_its_function_says(stand_ins: StandIns, state: str, status: str) -> None:
    stand_ins.on("deliver_webhook", lambda event, context: {"state": state})

    assert stand_ins.finished(stand_ins.start("webhook-delivery", "d", {"deliveryId": "d", "round": 0})) == status


def test_executions_are_listed_in_pages(stand_ins: StandIns, lifecycle: Lifecycle) -> None:
    names = [f"s{number}" for number in range(5)]
    for name in names:
        lifecycle.start(name)
    arn = "arn:aws:states:us-east-1:123456789012:stateMachine:atoll-local-session-lifecycle"
    listing = stand_ins.client("stepfunctions").get_paginator("list_executions")

    pages = list(listing.paginate(stateMachineArn=arn, statusFilter="RUNNING", PaginationConfig={"PageSize": 2}))

    assert [len(page["executions"]) for page in pages] == [2, 2, 1]
    assert [each["name"] for page in pages for each in page["executions"]] == names[::-1]


def test_the_same_start_is_the_same_execution_while_it_runs(stand_ins: StandIns, lifecycle: Lifecycle) -> None:
    assert lifecycle.start() == lifecycle.start()

    client = stand_ins.client("stepfunctions")
    with pytest.raises(client.exceptions.ExecutionAlreadyExists):
        lifecycle.start(ttl_s=61)


def test_a_stopped_execution_does_nothing_more(stand_ins: StandIns, lifecycle: Lifecycle) -> None:
    execution = lifecycle.start()
    eventually(lambda: lifecycle.of("run_agents"))

    stand_ins.client("stepfunctions").stop_execution(executionArn=execution, error="E", cause="enough")

    assert stand_ins.status(execution) == "ABORTED"
    client = stand_ins.client("stepfunctions")
    with pytest.raises(client.exceptions.TaskTimedOut):
        lifecycle.end_run()
    assert not lifecycle.of("close_session")


def test_a_machine_that_says_what_is_not_known_is_not_created(stand_ins: StandIns) -> None:
    client = stand_ins.client("stepfunctions")
    definition = json.dumps({"StartAt": "A", "States": {"A": {"Type": "Map", "End": True}}})

    with pytest.raises(client.exceptions.InvalidDefinition, match="'Map'"):
        client.create_state_machine(name="m", definition=definition, roleArn="arn:aws:iam::123456789012:role/r")
