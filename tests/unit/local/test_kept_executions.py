"""Executions that one process begins and another ends, on a clock that the test moves."""

import heapq
import itertools
import json
from collections.abc import Callable
from typing import Any

from infra.local.functions.functions import FunctionError
from infra.local.step_functions.asl import INVOKE, INVOKE_AND_WAIT
from infra.local.step_functions.service import StepFunctions

MACHINE = "arn:aws:states:r:a:stateMachine:m"
EXECUTION = "arn:aws:states:r:a:execution:m:one"


class _Timer:
    cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """Time that passes when the test says so."""

    def __init__(self, now_ms: int) -> None:
        self.now_ms = now_ms
        self._numbers = itertools.count()
        self._due: list[tuple[int, int, _Timer, Callable[[], Any]]] = []

    def run(self, what: Callable[..., Any], *arguments: Any) -> None:
        self.at(self.now_ms, what, *arguments)

    def after(self, delay_ms: int, what: Callable[..., Any], *arguments: Any) -> _Timer:
        return self.at(self.now_ms + delay_ms, what, *arguments)

    def at(self, time_ms: int, what: Callable[..., Any], *arguments: Any) -> _Timer:
        timer = _Timer()
        heapq.heappush(self._due, (time_ms, next(self._numbers), timer, lambda: what(*arguments)))
        return timer

    def go_to(self, time_ms: int) -> None:
        while self._due and self._due[0][0] <= time_ms:
            due_ms, _, timer, what = heapq.heappop(self._due)
            self.now_ms = max(self.now_ms, due_ms)
            if not timer.cancelled:
                what()
        self.now_ms = time_ms


class Process:
    """A process with one machine of one state, and what it keeps for the next."""

    def __init__(self, state: dict[str, Any], *, now_ms: int = 0, kept: dict[str, str] | None = None) -> None:
        self.kept: dict[str, str] = dict(kept or {})
        self.calls: list[tuple[int, Any]] = []
        self.fails = False
        self.clock = Clock(now_ms)
        definition = {"StartAt": "A", "States": {"A": {"Type": "Task", "End": True, **state}}}
        machines = {MACHINE: definition}
        self.machines = StepFunctions("a", "r", self.clock, invoke=self._invoke, machines=machines, keep=self._keep)

    def _keep(self, arn: str, place: str | None) -> None:
        self.kept.pop(arn, None)
        if place is not None:
            self.kept[arn] = place

    def _invoke(self, _: str, payload: Any) -> Any:
        self.calls.append((self.clock.now_ms, payload))
        if self.fails:
            raise FunctionError({"errorType": "Failed", "errorMessage": ""})

    def start(self) -> None:
        self.machines.start_execution({"stateMachineArn": MACHINE, "name": "one", "input": '{"x": 1}'})
        self.clock.go_to(self.clock.now_ms)

    def restored(self, state: dict[str, Any], *, now_ms: int) -> "Process":
        other = Process(state, now_ms=now_ms, kept=self.kept)
        other.machines.restore(self.kept.items())
        return other

    @property
    def status(self) -> str:
        return self.machines.executions[EXECUTION].status


WAITS = {
    "Resource": INVOKE_AND_WAIT,
    "Parameters": {"FunctionName": "f", "Payload": {"token.$": "$$.Task.Token"}},
    "TimeoutSeconds": 60,
}
CALLS = {
    "Resource": INVOKE,
    "Parameters": {"FunctionName": "f", "Payload.$": "$"},
    "Retry": [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 100, "MaxAttempts": 1}],
}


def test_a_token_and_its_time_are_the_same_in_the_next_process() -> None:
    first = Process(WAITS)
    first.start()
    second = first.restored(WAITS, now_ms=50_000)
    second.machines.go_on()
    second.clock.go_to(59_999)
    assert second.calls == [(50_000, first.calls[0][1])]
    assert second.status == "RUNNING"
    second.clock.go_to(60_000)
    assert (second.status, second.machines.executions[EXECUTION].error) == ("FAILED", "States.Timeout")


def test_a_token_that_is_answered_before_it_goes_on_is_answered() -> None:
    first = Process(WAITS)
    first.start()
    second = first.restored(WAITS, now_ms=50_000)
    second.machines.send_task_success({"taskToken": first.calls[0][1]["token"], "output": "{}"})
    second.machines.go_on()
    second.clock.go_to(100_000)
    assert (second.calls, second.status, second.kept) == ([], "SUCCEEDED", {})


def test_a_pause_before_a_retry_goes_on_and_is_counted() -> None:
    first = Process(CALLS)
    first.fails = True
    first.start()
    second = first.restored(CALLS, now_ms=40_000)
    second.fails = True
    second.machines.go_on()
    second.clock.go_to(99_999)
    assert second.calls == []
    second.clock.go_to(100_000)
    assert second.calls == [(100_000, {"x": 1})]
    assert second.status == "FAILED"


def test_what_is_aborted_because_its_process_ends_is_kept() -> None:
    first = Process(WAITS)
    first.start()
    first.machines.close()
    assert json.loads(first.kept[EXECUTION])["state"] == "A"


def test_one_whose_state_its_machine_has_lost_is_left_out() -> None:
    first = Process(WAITS)
    first.start()
    place = json.dumps({**json.loads(first.kept[EXECUTION]), "state": "Gone"})
    other = Process(WAITS)
    other.machines.restore([(EXECUTION, place)])
    assert other.machines.executions == {}
