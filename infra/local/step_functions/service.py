"""Step Functions: the operations that Atoll, its templates and its tests use. Requests and answers are the API's."""

import json
import logging
import threading
import uuid
from collections import deque
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from infra.local.in_process import Operations, Request, ServiceError, operations
from infra.local.pages import page
from infra.local.scheduler import Scheduler
from infra.local.step_functions.asl import InvalidDefinition, read_definition
from infra.local.step_functions.execution import Execution, Invoke, Keep, Random

log = logging.getLogger(__name__)

#: How many finished executions of each machine can still be described.
REMEMBERED = 500

#: Executions of one ListExecutions, unless the request says otherwise (Step Functions API reference).
PAGE = 100

#: What is answered here.
OPERATIONS = (
    "CreateStateMachine",
    "DescribeStateMachine",
    "StartExecution",
    "StopExecution",
    "DescribeExecution",
    "ListExecutions",
    "SendTaskSuccess",
    "SendTaskFailure",
)

Answer = dict[str, Any]


class StepFunctions:
    """The state machines of one account and region, and their executions by their ARNs."""

    def __init__(
        self,
        account: str,
        region: str,
        scheduler: Scheduler,
        *,
        invoke: Invoke,
        machines: dict[str, dict[str, Any]] | None = None,
        jitter: Random | None = None,
        keep: Keep | None = None,
    ) -> None:
        """
        Parameters
        ----------
        keep
            Takes what executions are to go on from in another process (`restore`).
        machines
            Definitions by ARN that are there from the beginning.
        jitter
            Takes the place of chance in the pauses of retriers.
        """
        self._arn = f"arn:aws:states:{region}:{account}"
        self._scheduler = scheduler
        self._invoke = invoke
        self._jitter: dict[str, Any] = {} if jitter is None else {"jitter": jitter}
        self._keep = keep
        self._lock = threading.RLock()
        self._finished: dict[str, deque[str]] = {}
        self._closed = False
        self.machines = dict(machines or {})
        self.executions: dict[str, Execution] = {}

    @property
    def operations(self) -> Operations:
        """The operations that are answered here, by their API names."""
        return operations(self, *OPERATIONS)

    def close(self) -> None:
        """Abort every execution, and start none any more; those that are kept stay where they are."""
        with self._lock:
            self._closed = True
            running = self._running()
        for execution in running:
            execution.stop()

    def restore(self, kept: Iterable[tuple[str, str]]) -> None:
        """Take executions of another process by their ARNs; none goes on before `go_on`."""
        for arn, place in kept:
            found = json.loads(place)
            if found["state"] not in self.machines.get(found["machine"], {"States": {}})["States"]:
                log.warning("left out: %s is in %s, which its machine does not have", arn, found["state"])
                continue
            execution = self.executions[arn] = self._execution_of(arn, found["machine"], found["input"])
            execution.restore(place)

    def go_on(self) -> None:
        """Let the executions that were restored go on."""
        with self._lock:
            running = self._running()
        for execution in running:
            execution.go_on()

    def _running(self) -> list[Execution]:
        return [execution for execution in self.executions.values() if execution.status == "RUNNING"]

    def _execution_of(self, arn: str, machine_arn: str, content: Any) -> Execution:
        return Execution(
            arn,
            (machine_arn, self.machines[machine_arn]),
            content,
            scheduler=self._scheduler,
            invoke=self._invoke,
            ended=self._forget,
            keep=self._kept,
            **self._jitter,
        )

    def _kept(self, arn: str, place: str | None) -> None:
        # What is aborted because the stack stops goes on with the next.
        if self._keep is not None and not self._closed:
            self._keep(arn, place)

    def create_state_machine(self, request: Request) -> Answer:
        """Create a machine; raise `ServiceError` for an unknown construct, or another machine of that name."""
        try:
            definition = read_definition(request["definition"])
        except InvalidDefinition as error:
            raise ServiceError("InvalidDefinition", str(error)) from error
        arn = f"{self._arn}:stateMachine:{request['name']}"
        with self._lock:
            if self.machines.setdefault(arn, definition) != definition:
                raise ServiceError("StateMachineAlreadyExists", f"State Machine Already Exists: '{arn}'")
        return {"stateMachineArn": arn, "creationDate": self._now()}

    def describe_state_machine(self, request: Request) -> Answer:
        """Return a machine with its definition; raise `ServiceError` for an unknown one."""
        arn = request["stateMachineArn"]
        return {
            "stateMachineArn": arn,
            "name": arn.rpartition(":")[2],
            "status": "ACTIVE",
            "type": "STANDARD",
            "definition": json.dumps(self._machine(arn)),
        }

    def start_execution(self, request: Request) -> Answer:
        """Start an execution; the same name with the same input is the same execution as long as it runs.

        Raises `ServiceError` for an unknown machine, and for a name that another execution has.
        """
        machine_arn, content = request["stateMachineArn"], self._json(request.get("input", "{}"))
        self._machine(machine_arn)
        arn = f"{machine_arn.replace(':stateMachine:', ':execution:')}:{request.get('name') or uuid.uuid4()}"
        with self._lock:
            if self._closed:
                raise ServiceError("InternalFailure", "the stack is stopping", 500)
            there = self.executions.get(arn)
            if there is not None:
                if there.status != "RUNNING" or there.input != content:
                    raise ServiceError("ExecutionAlreadyExists", f"Execution Already Exists: '{arn}'")
                return {"executionArn": arn, "startDate": _moment(there.started_ms)}
            execution = self.executions[arn] = self._execution_of(arn, machine_arn, content)
        execution.start()
        return {"executionArn": arn, "startDate": _moment(execution.started_ms)}

    def stop_execution(self, request: Request) -> Answer:
        """Abort an execution; raise `ServiceError` for an unknown one."""
        execution = self._execution(request)
        execution.stop(request.get("error", ""), request.get("cause", ""))
        return {"stopDate": _moment(execution.stopped_ms)}

    def describe_execution(self, request: Request) -> Answer:
        """Return the description of an execution; raise `ServiceError` for an unknown one."""
        execution = self._execution(request)
        found = {**_summary(execution), "input": json.dumps(execution.input)}
        if execution.status == "SUCCEEDED":
            found["output"] = json.dumps(execution.output)
        if execution.error or execution.cause:
            found |= {"error": execution.error, "cause": execution.cause}
        return found

    def list_executions(self, request: Request) -> Answer:
        """Return a page of a machine's executions, newest first; raise `ServiceError` for an unknown machine."""
        self._machine(request["stateMachineArn"])
        with self._lock:
            found = [
                execution
                for execution in reversed(self.executions.values())
                if execution.machine_arn == request["stateMachineArn"]
                and request.get("statusFilter") in (None, execution.status)
            ]
        return page("executions", [_summary(execution) for execution in found], request, PAGE)

    def send_task_success(self, request: Request) -> Answer:
        """Answer a task token; raise `ServiceError` for one that is unknown or no longer waited for."""
        output = self._json(request["output"])
        if not self._waiter(request["taskToken"]).succeed(request["taskToken"], output):
            raise _timed_out()
        return {}

    def send_task_failure(self, request: Request) -> Answer:
        """Let the task of a token fail; raise `ServiceError` for one that is unknown or no longer waited for."""
        error, cause = request.get("error", ""), request.get("cause", "")
        if not self._waiter(request["taskToken"]).fail(request["taskToken"], error, cause):
            raise _timed_out()
        return {}

    def _machine(self, arn: str) -> dict[str, Any]:
        if arn not in self.machines:
            raise ServiceError("StateMachineDoesNotExist", f"State Machine Does Not Exist: '{arn}'")
        return self.machines[arn]

    def _execution(self, request: Request) -> Execution:
        arn = request["executionArn"]
        if arn not in self.executions:
            raise ServiceError("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'")
        return self.executions[arn]

    def _waiter(self, token: str) -> Execution:
        execution = self.executions.get(token.rpartition("#")[0])
        if execution is None:
            raise _timed_out()
        return execution

    @staticmethod
    def _json(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise ServiceError("InvalidExecutionInput", f"not JSON: {error}") from error

    def _forget(self, ended: Execution) -> None:
        """Drop the finished executions of a machine that ended longest ago."""
        with self._lock:
            finished = self._finished.setdefault(ended.machine_arn, deque())
            finished.append(ended.arn)
            while len(finished) > REMEMBERED:
                del self.executions[finished.popleft()]

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._scheduler.now_ms / 1000, tz=UTC)


def _summary(execution: Execution) -> Answer:
    found = {
        "executionArn": execution.arn,
        "stateMachineArn": execution.machine_arn,
        "name": execution.name,
        "status": execution.status,
        "startDate": _moment(execution.started_ms),
        "stopDate": _moment(execution.stopped_ms),
    }
    return {name: value for name, value in found.items() if value is not None}


def _moment(epoch_ms: int | None) -> datetime | None:
    return None if epoch_ms is None else datetime.fromtimestamp(epoch_ms / 1000, tz=UTC)


def _timed_out() -> ServiceError:
    return ServiceError("TaskTimedOut", "Task Timed Out: 'Provided task does not exist anymore'")
