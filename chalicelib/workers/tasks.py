"""The Lambda behind ECS `Task State Change` events (Amazon ECS Developer Guide, "Task state change events")."""

from datetime import datetime
from typing import Any

from chalice.app import Blueprint

from chalicelib.reactions import launches, lifecycle
from chalicelib.services import current
from chalicelib.telemetry import about, request_id

lambdas = Blueprint(__name__)


@lambdas.lambda_function(name="on_task_change")
def on_task_change(event: dict[str, Any], context: Any) -> None:
    """Record that the task of an agent has stopped. Tasks that Atoll did not start are ignored."""
    task = event["detail"]
    if task.get("lastStatus") != "STOPPED" or not launches.is_of_agent(task.get("startedBy", "")):
        return
    services = current()
    with about(session=task["startedBy"].rpartition("/")[0], task=task.get("taskArn"), request=request_id(context)):
        lifecycle.task_stopped(
            services,
            task["startedBy"],
            reason=_reason_of(task),
            started_at_ms=_ms(task.get("startedAt")),
            stopped_at_ms=_ms(task.get("stoppedAt")) or services.clock.now_ms(),
        )


def _reason_of(task: dict[str, Any]) -> str:
    for container in task.get("containers", []):
        if container.get("reason"):
            return str(container["reason"])
        if container.get("exitCode") is not None:
            return f"exited with code {container['exitCode']}"
    return str(task.get("stoppedReason", "unknown"))


def _ms(time: str | None) -> int | None:
    return int(datetime.fromisoformat(time).timestamp() * 1000) if time else None
