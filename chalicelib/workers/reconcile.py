"""The Lambda that AWS calls every few minutes to find and repair inconsistent state."""

from typing import Any

from chalice.app import Blueprint

from chalicelib import telemetry
from chalicelib.reactions import reconciler
from chalicelib.services import current

lambdas = Blueprint(__name__)

#: What is left of the function's time when a run comes to its end, in ms.
MARGIN_MS = 20_000


@lambdas.lambda_function(name="reconcile")
def reconcile(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Find and repair inconsistent state; returns the number of repairs, by kind."""
    with telemetry.about(request=telemetry.request_id(context)):
        repairs = reconciler.reconcile(current(), lambda: context.get_remaining_time_in_millis() < MARGIN_MS)
    if repairs:  # what the alarm watches
        telemetry.count("Repairs", value=repairs.total())
    for kind, times in repairs.items():
        telemetry.count("RepairsByKind", value=times, kind=kind)
    return dict(repairs)
