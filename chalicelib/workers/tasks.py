"""The Lambda behind ECS `Task State Change` events (Amazon ECS Developer Guide, "Task state change events")."""

from typing import Any

from chalice.app import Blueprint

from chalicelib.aws.task_overrides import EXECUTABLE
from chalicelib.aws.tasks import TaskState
from chalicelib.reactions import launches, lifecycle
from chalicelib.services import current
from chalicelib.telemetry import about, request_id

lambdas = Blueprint(__name__)


@lambdas.lambda_function(name="on_task_change")
def on_task_change(event: dict[str, Any], context: Any) -> None:
    """Record that the task of an agent runs, or has stopped. Tasks that Atoll did not start are ignored."""
    task = event["detail"]
    if not launches.is_of_agent(task.get("startedBy", "")):
        return
    services, state = current(), TaskState.of(task)
    with about(session=state.started_by.rpartition("/")[0], task=state.arn, request=request_id(context)):
        if state.stopped:
            lifecycle.task_stopped(services, state)
        elif task.get("lastStatus") == "RUNNING" and state.started_at_ms is not None and _is_contained(task):
            lifecycle.task_runs(services, state.started_by, task_arn=state.arn, started_at_ms=state.started_at_ms)


def _is_contained(task: dict[str, Any]) -> bool:
    """Return whether a task has containers; those of the local stack may be processes, whose start is known already."""
    return all(container.get("image") != EXECUTABLE for container in task.get("containers", []))
