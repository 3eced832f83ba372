"""Runs one execution of a state machine, and takes answers to task tokens and requests to stop."""

import itertools
import json
import random
import threading
from collections.abc import Callable
from typing import Any

from infra.local.functions.functions import FunctionError
from infra.local.scheduler import Scheduler, Timer
from infra.local.step_functions import asl
from infra.local.step_functions.asl import StateFailed

#: Calls a function by its name or ARN with an event; raises `FunctionError`, or ``LookupError`` for an unknown one.
Invoke = Callable[[str, Any], Any]

#: Takes what an execution of an ARN is to go on from, as JSON; ``None`` once it has ended.
Keep = Callable[[str, str | None], None]

#: Spreads the pauses of retriers with jitter. Replaced where time costs nothing and every run is to be like the last.
Random = Callable[[], float]


class Execution:
    """One execution.

    Each thing that it is about to do is an attempt with a number; what belongs to an older one comes too late, and is
    dropped.

    Attributes
    ----------
    status : str
        ``RUNNING``, ``SUCCEEDED``, ``FAILED`` or ``ABORTED``.
    state : str
        The state in which it is, or ended.
    entered : list of str
        All states that it has entered, in order.
    """

    def __init__(
        self,
        arn: str,
        machine: tuple[str, dict[str, Any]],
        content: Any,
        *,
        scheduler: Scheduler,
        invoke: Invoke,
        ended: Callable[["Execution"], None],
        jitter: Random = random.random,
        keep: Keep | None = None,
    ) -> None:
        """
        Parameters
        ----------
        machine
            ARN and definition of the machine.
        ended
            Called when it has ended.
        keep
            Takes what it is to go on from in another process, at each step before it is taken.
        """
        self.arn = arn
        self.name = arn.rpartition(":")[2]
        self.machine_arn, self._definition = machine
        self.input = content
        self.output: Any = None
        self.status = "RUNNING"
        self.error = self.cause = ""
        self.started_ms = scheduler.now_ms
        self.stopped_ms: int | None = None
        self.state = ""
        self.entered: list[str] = []
        self._scheduler = scheduler
        self._invoke = invoke
        self._ended = ended
        self._jitter = jitter
        self._keep = keep
        self._lock = threading.RLock()
        self._data = content
        self._numbers = itertools.count(1)
        self._attempt = 0
        #: When the attempt is to begin, in epoch ms.
        self._due_ms = self.started_ms
        self._timers: list[Timer] = []
        self._used: dict[int, int] = {}
        self._restored = 0

    def start(self) -> None:
        """Begin with the first state."""
        with self._lock:
            self._enter(self._definition["StartAt"])

    def restore(self, kept: str) -> None:
        """Be where an execution of another process was; `go_on` goes on from there."""
        found = json.loads(kept)
        with self._lock:
            self.started_ms, self.state, self._data = found["startedMs"], found["state"], found["data"]
            self.entered = [self.state]
            self._attempt, self._due_ms = found["attempt"], found["dueMs"]
            self._numbers = itertools.count(self._attempt + 1)
            self._used = {int(index): used for index, used in found["used"].items()}
            self._restored = self._attempt

    def go_on(self) -> None:
        """Do again what was to be done when it was kept, unless it was answered since: a function is called twice."""
        with self._lock:
            if self._is_at(self._restored):
                pause_ms = self._due_ms - self._scheduler.now_ms
                self._timers.append(self._scheduler.after(max(0, pause_ms), self._run, self._attempt))

    def succeed(self, token: str, output: Any) -> bool:
        """Take the output for a task token; return whether the token is waited for."""
        with self._lock:
            if not self._waits_for(token):
                return False
            self._succeed(self._attempt, output)
            return True

    def fail(self, token: str, error: str, cause: str) -> bool:
        """Take the error for a task token; return whether the token is waited for."""
        with self._lock:
            if not self._waits_for(token):
                return False
            self._fail(self._attempt, error, cause)
            return True

    def stop(self, error: str = "", cause: str = "") -> None:
        """End it as ``StopExecution`` does; one that is over stays as it is."""
        with self._lock:
            if self.status == "RUNNING":
                self._end("ABORTED", error=error, cause=cause)

    # Attempts: what is to be done next, and what has become of it.

    def _token(self, attempt: int) -> str:
        return f"{self.arn}#{attempt}"

    def _waits_for(self, token: str) -> bool:
        return (
            self.status == "RUNNING"
            and token == self._token(self._attempt)
            and self._spec.get("Resource") == asl.INVOKE_AND_WAIT
        )

    @property
    def _spec(self) -> dict[str, Any]:
        return self._definition["States"][self.state]  # type: ignore[no-any-return]

    def _context(self, attempt: int) -> dict[str, Any]:
        """Return the context object (Step Functions guide, "Context object")."""
        return {
            "Execution": {"Id": self.arn, "Name": self.name, "Input": self.input},
            "State": {"Name": self.state},
            "StateMachine": {"Id": self.machine_arn, "Name": self.machine_arn.rpartition(":")[2]},
            "Task": {"Token": self._token(attempt)},
        }

    def _next_attempt(self, pause_ms: int = 0) -> int:
        """Make void whatever was to be done before."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()
        self._attempt = next(self._numbers)
        self._due_ms = self._scheduler.now_ms + pause_ms
        return self._attempt

    def _keep_place(self) -> None:
        if self._keep is not None:
            place = {"machine": self.machine_arn, "input": self.input, "startedMs": self.started_ms}
            place |= {"state": self.state, "data": self._data, "used": self._used}
            self._keep(self.arn, json.dumps({**place, "attempt": self._attempt, "dueMs": self._due_ms}))

    def _is_at(self, attempt: int) -> bool:
        return self.status == "RUNNING" and self._attempt == attempt

    def _enter(self, name: str) -> None:
        self.state = name
        self.entered.append(name)
        self._used = {}
        attempt = self._next_attempt()
        self._keep_place()
        self._scheduler.run(self._run, attempt)

    def _run(self, attempt: int) -> None:
        """Do what the state says, and for a Task call its function with nothing held."""
        with self._lock:
            if not self._is_at(attempt):
                return
            try:
                called = self._do(attempt)
            except StateFailed as error:
                self._fail(attempt, error.error, error.cause)
                return
        if called is None:
            return
        function, payload = called
        try:
            result = self._invoke(function, payload)
        except FunctionError as error:
            self._fail(attempt, str(error.answer["errorType"]), json.dumps(error.answer))
        except LookupError as error:
            self._fail(attempt, "Lambda.ResourceNotFoundException", str(error))
        else:
            if self._is_at(attempt) and self._spec["Resource"] == asl.INVOKE:
                self._succeed(attempt, {"ExecutedVersion": "$LATEST", "Payload": result, "StatusCode": 200})

    def _do(self, attempt: int) -> tuple[str, Any] | None:
        spec, context = self._spec, self._context(attempt)
        kind = spec["Type"]
        if kind == "Task":
            return self._task(spec, context, attempt)
        if kind == "Wait":
            until_ms = asl.waits_until_ms(spec, self._data, context, now_ms=self._scheduler.now_ms)
            self._timers.append(self._scheduler.at(until_ms, self._waited, attempt))
        elif kind == "Choice":
            self._enter(asl.chosen(spec, self._data, context))
        elif kind == "Pass":
            result = spec.get(
                "Result", asl.filled(spec["Parameters"], self._data, context) if "Parameters" in spec else self._data
            )
            self._data = asl.placed(result, spec.get("ResultPath", "$"), self._data)
            self._go_on(spec)
        elif kind == "Succeed":
            self._end("SUCCEEDED")
        else:
            self._end("FAILED", error=spec.get("Error", ""), cause=spec.get("Cause", ""))
        return None

    def _task(self, spec: dict[str, Any], context: dict[str, Any], attempt: int) -> tuple[str, Any]:
        limit_s = asl.timeout_s(spec, self._data, context)
        if limit_s is not None:
            # A token is waited for across processes, a function that is called again has all its time again.
            waits = spec["Resource"] == asl.INVOKE_AND_WAIT
            due_ms = (self._due_ms if waits else self._scheduler.now_ms) + limit_s * 1000
            self._timers.append(self._scheduler.at(due_ms, self._fail, attempt, "States.Timeout", ""))
        parameters = asl.filled(spec["Parameters"], self._data, context)
        return parameters["FunctionName"], parameters.get("Payload")

    def _waited(self, attempt: int) -> None:
        with self._lock:
            if self._is_at(attempt):
                self._go_on(self._spec)

    def _succeed(self, attempt: int, result: Any) -> None:
        with self._lock:
            if not self._is_at(attempt):
                return
            spec = self._spec
            try:
                if "ResultSelector" in spec:
                    result = asl.filled(spec["ResultSelector"], result, self._context(attempt))
            except StateFailed as error:
                self._fail(attempt, error.error, error.cause)
                return
            self._data = asl.placed(result, spec.get("ResultPath", "$"), self._data)
            self._go_on(spec)

    def _fail(self, attempt: int, error: str, cause: str) -> None:
        with self._lock:
            if self._is_at(attempt) and not self._retry(error) and not self._catch(error, cause):
                self._end("FAILED", error=error, cause=cause)

    def _retry(self, error: str) -> bool:
        for index, retrier in enumerate(self._spec.get("Retry", [])):
            if asl.handles(retrier, error):
                used = self._used.get(index, 0)
                if used >= retrier.get("MaxAttempts", 3):
                    return False
                self._used[index] = used + 1
                pause_ms = int(asl.pause_s(retrier, used, self._jitter) * 1000)
                attempt = self._next_attempt(pause_ms)
                self._keep_place()
                self._timers.append(self._scheduler.after(pause_ms, self._run, attempt))
                return True
        return False

    def _catch(self, error: str, cause: str) -> bool:
        for catcher in self._spec.get("Catch", []):
            if asl.handles(catcher, error):
                found = {"Error": error, "Cause": cause}
                self._data = asl.placed(found, catcher.get("ResultPath", "$"), self._data)
                self._enter(catcher["Next"])
                return True
        return False

    def _go_on(self, spec: dict[str, Any]) -> None:
        if spec.get("End"):
            self._end("SUCCEEDED")
        else:
            self._enter(spec["Next"])

    def _end(self, status: str, *, error: str = "", cause: str = "") -> None:
        self._next_attempt()
        self.status = status
        self.error, self.cause = error, cause
        self.output = self._data if status == "SUCCEEDED" else None
        self.stopped_ms = self._scheduler.now_ms
        if self._keep is not None:
            self._keep(self.arn, None)
        self._ended(self)
