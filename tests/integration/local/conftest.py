"""A local stack with stand-ins for the app's handlers, which each test writes down as it needs them."""

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from chalice.app import Chalice

from infra.local.stack import LocalStack

Handler = Callable[[Any, Any], Any]

#: How long anything that is to happen may take, in s. A test that waits so long fails.
DEADLINE_S = 15.0


def eventually(condition: Callable[[], Any], within_s: float = DEADLINE_S) -> Any:
    """Return a condition's result once it is true; fail when it does not become true in time."""
    deadline = time.monotonic() + within_s
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
    return value


class Functions(dict[str, Handler]):
    """Handlers by name; those that a test does not write do nothing."""

    def __missing__(self, name: str) -> Handler:
        return lambda event, context: {}


class StandIns:
    """A stack of which a test writes the handlers."""

    def __init__(self, stack: LocalStack, handlers: dict[str, Handler], events: list[dict[str, Any]]) -> None:
        self.stack = stack
        self.handlers = handlers
        self.events = events
        self.output: list[tuple[str, str]] = []

    def client(self, service: str) -> Any:
        """Return a boto3 client that reaches the stack."""
        return self.stack.services.client(service)

    def on(self, name: str, handler: Handler) -> None:
        """Answer a function with a handler from here on."""
        self.handlers[name] = handler

    def put_session(self, session_id: str, **attributes: Any) -> None:
        """Write a record to the sessions table."""
        item = {"namespace": {"S": "n"}, "sessionId": {"S": session_id}}
        item |= {name: {"S": value} for name, value in attributes.items()}
        self.client("dynamodb").put_item(TableName="atoll-local-sessions", Item=item)

    def start(self, machine: str, name: str, content: dict[str, Any]) -> str:
        """Start a state machine and return the execution's ARN."""
        arn = f"arn:aws:states:us-east-1:123456789012:stateMachine:atoll-local-{machine}"
        started = self.client("stepfunctions").start_execution(
            stateMachineArn=arn, name=name, input=json.dumps(content)
        )
        return str(started["executionArn"])

    def status(self, execution: str) -> str:
        """Return the status of an execution."""
        return str(self.client("stepfunctions").describe_execution(executionArn=execution)["status"])

    def finished(self, execution: str) -> str:
        """Wait for the end of an execution and return its status."""
        return str(eventually(lambda: (s := self.status(execution)) != "RUNNING" and s))

    def define(self, *, command: list[str], **container: Any) -> str:
        """Register a task definition of one process and return its ARN."""
        definition = self.client("ecs").register_task_definition(
            family=f"agent-{os.urandom(4).hex()}",
            requiresCompatibilities=["FARGATE"],
            networkMode="awsvpc",
            cpu="256",
            memory="512",
            containerDefinitions=[
                {"name": "agent", "image": "executable", "command": command, "memory": 512, "essential": True}
                | container
            ],
        )
        return str(definition["taskDefinition"]["taskDefinitionArn"])

    def run(self, definition: str, environment: dict[str, str] | None = None, **request: Any) -> str:
        """Run a task and return its ARN."""
        variables = [{"name": name, "value": value} for name, value in (environment or {}).items()]
        whole = {"overrides": {"containerOverrides": [{"name": "agent", "environment": variables}]}, **request}
        answer = self.client("ecs").run_task(
            cluster="atoll-local",
            taskDefinition=definition,
            launchType="FARGATE",
            networkConfiguration={"awsvpcConfiguration": {"subnets": [], "securityGroups": []}},
            **whole,
        )
        return str(answer["tasks"][0]["taskArn"])

    def task_events(self, task: str, status: str) -> list[dict[str, Any]]:
        """Return the events that report a task's status."""
        return [
            event["detail"]
            for event in list(self.events)
            if event["source"] == "aws.ecs"
            and event["detail"]["taskArn"] == task
            and event["detail"]["lastStatus"] == status
        ]

    def stopped(self, task: str) -> dict[str, Any]:
        """Wait for a task to stop and return the event's detail."""
        return dict(eventually(lambda: self.task_events(task, "STOPPED"))[0])

    def lines(self, agent: str) -> list[str]:
        """Return what an agent has printed."""
        return [line for name, line in list(self.output) if name == agent]


@pytest.fixture
def app() -> Chalice:
    """An app without routes and handlers."""
    return Chalice(app_name="atoll")


@pytest.fixture
def stand_ins(app: Chalice) -> Iterator[StandIns]:
    """A running stack whose functions are the test's."""
    events: list[dict[str, Any]] = []
    output: list[tuple[str, str]] = []
    names = ("run_agents", "close_session", "remove_session", "on_change", "on_task_change", "deliver_webhook")
    handlers = Functions()
    functions = {
        name: lambda event, context, name=name: handlers[name](event, context) for name in (*names, "reconcile", "mcp")
    }
    stack = LocalStack(
        app=app,
        functions=functions,
        on_event=events.append,
        on_output=lambda agent, line: output.append((agent, line)),
    )
    with stack:
        stand_ins = StandIns(stack, handlers, events)
        stand_ins.output = output
        yield stand_ins
