"""The Lambda behind ECS `Task State Change` events (Amazon ECS Developer Guide, "Task state change events")."""

from datetime import datetime
from typing import Any

from chalice.app import Blueprint

from chalicelib.aws.task_overrides import EXECUTABLE
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
    services, started_by = current(), task["startedBy"]
    with about(session=started_by.rpartition("/")[0], task=task["taskArn"], request=request_id(context)):
        started_at_ms = _ms(task.get("startedAt"))
        if task.get("lastStatus") == "STOPPED":
            lifecycle.task_stopped(
                services,
                started_by,
                task_arn=task["taskArn"],
                reason=_reason_of(task),
                started_at_ms=started_at_ms,
                stopped_at_ms=_ms(task.get("stoppedAt")) or services.clock.now_ms(),
            )
        elif task.get("lastStatus") == "RUNNING" and started_at_ms is not None and _is_contained(task):
            lifecycle.task_runs(services, started_by, task_arn=task["taskArn"], started_at_ms=started_at_ms)


def _is_contained(task: dict[str, Any]) -> bool:
    """Return whether a task has containers; those of the local stack may be processes, whose start is known already."""
    return all(container.get("image") != EXECUTABLE for container in task.get("containers", []))


def _reason_of(task: dict[str, Any]) -> str:
    for container in task.get("containers", []):
        if container.get("reason"):
            return str(container["reason"])
        if container.get("exitCode") is not None:
            return f"exited with code {container['exitCode']}"
    return str(task.get("stoppedReason", "unknown"))


def _ms(time: str | None) -> int | None:
    return int(datetime.fromisoformat(time).timestamp() * 1000) if time else None
