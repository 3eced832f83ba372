"""Step Functions as far as the machines in ``infra/`` need it, on a clock that waits cost nothing.

Knows Task (``lambda:invoke``, with and without a task token), Wait, Choice, Succeed and Fail, with Retry, Catch,
timeouts and the paths between them. What it does not know, it refuses.
"""

import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol

Data = dict[str, Any]


class FunctionFailed(Exception):
    """A Lambda function raised, or its process died; ``name`` is what Step Functions sees."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Platform(Protocol):
    """What an execution needs of the world around it."""

    now_ms: int

    def at(self, time_ms: int, what: Callable[[], None], unless: Callable[[], bool]) -> None:
        """Do something at a time, unless that is pointless by then."""

    def invoke(self, function: str, event: Any) -> Any:
        """Call a Lambda function; raise `FunctionFailed` when it fails."""


class Execution:
    """One execution of a machine."""

    def __init__(self, platform: Platform, name: str, definition: Data, content: Data) -> None:
        self.name = name
        self.status = "RUNNING"
        self.state = ""
        self.input = content
        #: The states it has entered, in order.
        self.history: list[str] = []
        self._platform = platform
        self._states = definition["States"]
        self._data = dict(content)
        self._attempts = itertools.count(1)
        self._attempt = 0
        self._retries: dict[int, int] = {}
        self._enter(definition["StartAt"])

    @property
    def token(self) -> str:
        """The task token of the attempt that is under way."""
        return f"{self.name}:{self._attempt}"

    def answer(self, token: str, output: Any) -> bool:
        """Take a token's answer; ``False`` when nobody waits for it any more."""
        if self.status != "RUNNING" or token != self.token or "waitForTaskToken" not in self._spec.get("Resource", ""):
            return False
        self._succeed(self._attempt, output)
        return True

    def stop(self) -> None:
        """End it as ``StopExecution`` does."""
        self._end("ABORTED")

    @property
    def _spec(self) -> Data:
        return self._states[self.state]

    def _enter(self, name: str) -> None:
        self.state = name
        self.history.append(name)
        self._retries = {}
        self._schedule(0, self._run)

    def _schedule(self, delay_ms: int, what: Callable[[], None]) -> None:
        """Do something later, unless the execution has gone on by then."""
        self._attempt = attempt = next(self._attempts)

        self._platform.at(self._platform.now_ms + delay_ms, what, lambda: not self._is_at(attempt))

    def _is_at(self, attempt: int) -> bool:
        return self.status == "RUNNING" and self._attempt == attempt

    def _run(self) -> None:
        spec = self._spec
        kind = spec["Type"]
        if kind == "Succeed":
            self._end("SUCCEEDED")
        elif kind == "Fail":
            self._end("FAILED")
        elif kind == "Choice":
            self._enter(next((rule["Next"] for rule in spec["Choices"] if self._holds(rule)), spec.get("Default")))
        elif kind == "Wait":
            until_ms = int(datetime.fromisoformat(self._read(spec["TimestampPath"])).timestamp() * 1000)
            self._schedule(max(0, until_ms - self._platform.now_ms), lambda: self._enter(spec["Next"]))
        elif kind == "Task":
            self._call()
        else:
            raise NotImplementedError(kind)

    def _call(self) -> None:
        spec, attempt = self._spec, self._attempt
        waits = spec["Resource"].endswith(".waitForTaskToken")
        timeout_s = spec.get("TimeoutSeconds") or (
            self._read(spec["TimeoutSecondsPath"]) if "TimeoutSecondsPath" in spec else None
        )
        if timeout_s is not None:
            due_ms = self._platform.now_ms + timeout_s * 1000
            self._platform.at(due_ms, lambda: self._fail(attempt, "States.Timeout"), lambda: not self._is_at(attempt))
        parameters = self._filled(spec["Parameters"])
        try:
            result = self._platform.invoke(parameters["FunctionName"], parameters["Payload"])
        except FunctionFailed as error:
            self._fail(attempt, error.name)
            return
        if not waits:
            self._succeed(attempt, {"Payload": result})

    def _succeed(self, attempt: int, result: Any) -> None:
        if not self._is_at(attempt):
            return
        spec = self._spec
        if "ResultSelector" in spec:
            result = self._filled(spec["ResultSelector"], result)
        self._data[spec["ResultPath"].removeprefix("$.")] = result
        self._enter(spec["Next"])

    def _fail(self, attempt: int, error: str) -> None:
        if not self._is_at(attempt):
            return
        for index, retrier in enumerate(self._spec.get("Retry", [])):
            used = self._retries.get(index, 0)
            if _matches(error, retrier["ErrorEquals"]):
                if used >= retrier["MaxAttempts"]:
                    break
                self._retries[index] = used + 1
                pause_s = min(retrier["IntervalSeconds"] * retrier["BackoffRate"] ** used, retrier["MaxDelaySeconds"])
                self._schedule(int(pause_s * 1000), self._run)
                return
        for catcher in self._spec.get("Catch", []):
            if _matches(error, catcher["ErrorEquals"]):
                self._data[catcher["ResultPath"].removeprefix("$.")] = {"Error": error, "Cause": ""}
                self._enter(catcher["Next"])
                return
        self._end("FAILED")

    def _end(self, status: str) -> None:
        self.status = status
        self._attempt = -1

    def _filled(self, template: Any, source: Any = None) -> Any:
        if not isinstance(template, dict):
            return template
        return {
            name.removesuffix(".$"): self._read(value, source) if name.endswith(".$") else self._filled(value, source)
            for name, value in template.items()
        }

    def _read(self, path: str, source: Any = None) -> Any:
        if path == "$$.Task.Token":
            return self.token
        if path == "$$.Execution.Name":
            return self.name
        found = self._data if source is None else source
        for part in path.removeprefix("$.").split("."):
            found = found[part]
        return found

    def _holds(self, rule: Data) -> bool:
        value = self._read(rule["Variable"])
        if "BooleanEquals" in rule:
            return bool(value is rule["BooleanEquals"])
        return bool(value == rule["StringEquals"])


def _matches(error: str, names: list[str]) -> bool:
    if "States.ALL" in names or error in names:
        return True
    return "States.TaskFailed" in names and error != "States.Timeout"
