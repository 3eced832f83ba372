"""ECS, Step Functions and EventBridge as the code under test meets them: each operation that it uses, and no other."""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from chalicelib.wire.base import iso_from_ms
from infra.local.functions.invocations import PAUSES_S, InvokeConfig, obituary
from tests.faults.states import Execution, FunctionFailed

if TYPE_CHECKING:
    from tests.faults.platform import World

#: How long a task takes to start and to stop.
START_MS = 50
STOP_MS = 30
#: Largest answer of one ListTasks, ListExecutions and DescribeTasks (their API references).
PAGE = 100


def refused(operation: str, code: str, status: int = 400) -> ClientError:
    """Return the error that an AWS client raises."""
    return ClientError(
        {"Error": {"Code": code, "Message": code}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        operation,
    )


class Ecs:
    """A cluster whose tasks live as long as they are told."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.tasks: dict[str, dict[str, Any]] = {}
        self._by_token: dict[str, str] = {}
        #: How many task definitions were registered.
        self.definitions = 0
        #: How long the agent of a name lives, in ms; one that is not here lives until it is stopped.
        self.lives_ms: dict[str, int] = {}
        #: Tasks that have ended are forgotten after a while (ECS: about an hour).
        self.forgotten: set[str] = set()

    def running(self) -> list[dict[str, Any]]:
        """Return the tasks that have not stopped."""
        return [task for task in self.tasks.values() if task["lastStatus"] != "STOPPED"]

    def register_task_definition(self, request: dict[str, Any]) -> dict[str, Any]:
        self.definitions += 1
        arn = f"arn:aws:ecs:us-east-1:123456789012:task-definition/{request['family']}:{self.definitions}"
        return {"taskDefinition": {"taskDefinitionArn": arn}}

    def run_task(self, request: dict[str, Any]) -> dict[str, Any]:
        token = request["clientToken"]
        if token in self._by_token:
            return {"tasks": [self.tasks[self._by_token[token]]], "failures": []}
        arn = f"arn:aws:ecs:us-east-1:123456789012:task/atoll-local/{hashlib.md5(token.encode()).hexdigest()}"
        environment = {
            variable["name"]: variable["value"]
            for container in request["overrides"]["containerOverrides"]
            for variable in container["environment"]
        }
        task = {
            "taskArn": arn,
            "clusterArn": f"arn:aws:ecs:us-east-1:123456789012:cluster/{request['cluster']}",
            "startedBy": request["startedBy"],
            "lastStatus": "PROVISIONING",
            "desiredStatus": "RUNNING",
            "createdAt": self._world.now_ms,
            "environment": environment,
            "stopped_by_call": False,
        }
        self.tasks[arn] = task
        self._by_token[token] = arn
        self._world.after(START_MS, lambda: self._start(task))
        return {"tasks": [task], "failures": []}

    def stop_task(self, request: dict[str, Any]) -> dict[str, Any]:
        task = self.tasks.get(request["task"])
        if task is None or task["taskArn"] in self.forgotten:
            raise refused("StopTask", "InvalidParameterException")
        if task["desiredStatus"] != "STOPPED":
            task["desiredStatus"] = "STOPPED"
            task["stopped_by_call"] = True
            self._world.after(STOP_MS, lambda: self.end(task, reason="UserInitiated"))
        return {"task": task}

    def list_tasks(self, request: dict[str, Any]) -> dict[str, Any]:
        wanted = request.get("desiredStatus", "RUNNING")
        found = [
            task["taskArn"]
            for task in self.tasks.values()
            if task["desiredStatus"] == wanted
            and task["taskArn"] not in self.forgotten
            and request.get("startedBy", task["startedBy"]) == task["startedBy"]
        ]
        start = int(request.get("nextToken", 0))
        size = request.get("maxResults", PAGE)
        page: dict[str, Any] = {"taskArns": found[start : start + size]}
        if start + size < len(found):
            page["nextToken"] = str(start + size)
        return page

    def describe_tasks(self, request: dict[str, Any]) -> dict[str, Any]:
        if len(request["tasks"]) > PAGE:
            raise refused("DescribeTasks", "InvalidParameterException")
        known = [arn for arn in request["tasks"] if arn in self.tasks and arn not in self.forgotten]
        return {
            "tasks": [_described(self.tasks[arn]) for arn in known],
            "failures": [{"arn": arn, "reason": "MISSING"} for arn in request["tasks"] if arn not in known],
        }

    def _start(self, task: dict[str, Any]) -> None:
        if task["lastStatus"] == "STOPPED":
            return
        task["lastStatus"] = "RUNNING"
        task["startedAt"] = self._world.now_ms
        life_ms = self.lives_ms.get(task["environment"].get("CORAL_AGENT_ID", ""))
        if life_ms is not None:
            self._world.after(life_ms, lambda: self.end(task, exit_code=0))

    def end(
        self,
        task: dict[str, Any],
        *,
        reason: str = "EssentialContainerExited",
        exit_code: int | None = None,
        silently: bool = False,
    ) -> None:
        """Stop a task, and tell it on the default bus unless the event is to be lost."""
        if task["lastStatus"] == "STOPPED":
            return
        task.update(lastStatus="STOPPED", desiredStatus="STOPPED", stoppedAt=self._world.now_ms, stoppedReason=reason)
        task["containers"] = [{"name": "agent", **({"exitCode": exit_code} if exit_code is not None else {})}]
        if not silently:
            self._world.after(5, lambda: self._world.events.default_bus(task_event(task)))


def task_event(task: dict[str, Any]) -> dict[str, Any]:
    """Return the `Task State Change` event of a task as it is."""
    detail = {name: task[name] for name in ("taskArn", "clusterArn", "startedBy", "lastStatus", "desiredStatus")}
    detail |= {name: iso_from_ms(task[name]) for name in ("createdAt", "startedAt", "stoppedAt") if name in task}
    detail |= {name: task[name] for name in ("stoppedReason", "containers") if name in task}
    return {"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": detail}


def _described(task: dict[str, Any]) -> dict[str, Any]:
    from datetime import UTC, datetime

    times = ("createdAt", "startedAt", "stoppedAt")
    return {name: datetime.fromtimestamp(value / 1000, UTC) if name in times else value for name, value in task.items()}


class StepFunctions:
    """The machines of the stack."""

    def __init__(self, world: "World", definitions: dict[str, dict[str, Any]]) -> None:
        self._world = world
        self._definitions = definitions
        self.executions: dict[tuple[str, str], Execution] = {}

    def of(self, machine: str) -> list[Execution]:
        """Return the executions of a machine."""
        return [execution for (arn, _), execution in self.executions.items() if arn.endswith(machine)]

    def start_execution(self, request: dict[str, Any]) -> dict[str, Any]:
        arn, name = request["stateMachineArn"], request["name"]
        content = json.loads(request["input"])
        there = self.executions.get((arn, name))
        if there is None:
            self.executions[arn, name] = Execution(self._world, name, self._definitions[arn], content)
        elif there.status != "RUNNING" or there.input != content:
            raise refused("StartExecution", "ExecutionAlreadyExists")
        return {"executionArn": f"{arn.replace('stateMachine', 'execution')}:{name}"}

    def send_task_success(self, request: dict[str, Any]) -> dict[str, Any]:
        token = request["taskToken"]
        for execution in self.executions.values():
            if execution.answer(token, json.loads(request["output"])):
                return {}
        raise refused("SendTaskSuccess", "TaskTimedOut")

    def describe_execution(self, request: dict[str, Any]) -> dict[str, Any]:
        machine, _, name = request["executionArn"].rpartition(":")
        execution = self.executions.get((machine.replace("execution", "stateMachine"), name))
        if execution is None:
            raise refused("DescribeExecution", "ExecutionDoesNotExist")
        return {"executionArn": request["executionArn"], "name": name, "status": execution.status}

    def list_executions(self, request: dict[str, Any]) -> dict[str, Any]:
        found = [
            {"name": execution.name}
            for execution in self.of(request["stateMachineArn"])
            if execution.status == request["statusFilter"]
        ]
        start = int(request.get("nextToken", 0))
        page: dict[str, Any] = {"executions": found[start : start + PAGE]}
        if start + PAGE < len(found):
            page["nextToken"] = str(start + PAGE)
        return page


class EventBridge:
    """The default bus and Atoll's own, with the rules of the stack and Lambda behind them."""

    def __init__(self, world: "World", rules: list[dict[str, Any]], invoke_configs: dict[str, InvokeConfig]) -> None:
        self._world = world
        self._rules = rules
        self._invoke_configs = invoke_configs
        #: What was put on Atoll's bus: type and detail.
        self.published: list[tuple[str, dict[str, Any]]] = []
        #: What rules could not hand over and functions failed on: the ARN of the queue, the message.
        self.dead: list[tuple[str, Any]] = []

    def put_events(self, request: dict[str, Any]) -> dict[str, Any]:
        for entry in request["Entries"]:
            event = {
                "source": entry["Source"],
                "detail-type": entry["DetailType"],
                "detail": json.loads(entry["Detail"]),
            }
            self.published.append((entry["DetailType"], event["detail"]))
            self._route(entry["EventBusName"], event)
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"} for _ in request["Entries"]]}

    def default_bus(self, event: dict[str, Any]) -> None:
        """Take an event of AWS's own."""
        self._route("default", event)

    def _route(self, bus: str, event: dict[str, Any]) -> None:
        for rule in self._rules:
            if rule.get("EventBusName", "default") == bus and _matches(rule.get("EventPattern"), event):
                for target in rule["Targets"]:
                    self._world.after(20, lambda target=target: self._hand(target, event, 0))

    def _hand(self, target: dict[str, Any], event: dict[str, Any], tried: int) -> None:
        content = event["detail"] if target.get("InputPath") == "$.detail" else event
        if ":function:" in target["Arn"]:
            self._call(target["Arn"], content, 1)
            return
        self._world.names += 1
        name = f"eventbridge-{self._world.names}"
        request = {"stateMachineArn": target["Arn"], "name": name, "input": json.dumps(content)}
        try:
            self._world.machines.start_execution(request)
        except Exception:
            if tried >= target["RetryPolicy"]["MaximumRetryAttempts"]:
                self.dead.append((target["DeadLetterConfig"]["Arn"], content))
                return
            self._world.after(1_000 * 2 ** min(tried, 8), lambda: self._hand(target, event, tried + 1))

    def _call(self, arn: str, event: dict[str, Any], count: int) -> None:
        """Call a function as Lambda does when nobody waits for the answer."""
        config = self._invoke_configs.get(arn.rpartition(":")[2], InvokeConfig())
        try:
            self._world.invoke(arn, event)
        except FunctionFailed as error:
            if count <= config.most_retries:
                pause_ms = int(PAUSES_S[count - 1] * 1000)
                self._world.after(pause_ms, lambda: self._call(arn, event, count + 1))
            elif config.on_failure:
                told = obituary(arn, event, count=count, answer={"errorType": str(error)})
                self.dead.append((config.on_failure, told))


def _matches(pattern: Any, event: Any) -> bool:
    if pattern is None:
        return False
    for name, wanted in pattern.items():
        found = event.get(name)
        if isinstance(wanted, dict):
            if not isinstance(found, dict) or not _matches(wanted, found):
                return False
        elif found not in wanted:
            return False
    return True
