"""The Lambda that AWS calls every few minutes to mend what slipped through."""

from typing import Any

from chalice.app import Blueprint

from chalicelib.deployment import current
from chalicelib.domain import reconciler

lambdas = Blueprint(__name__)

#: What is left of the function's time when a run comes to its end, in ms.
MARGIN_MS = 20_000


@lambdas.lambda_function(name="reconcile")
def reconcile(event: dict[str, Any], context: Any) -> dict[str, int]:
    """Mend what is stranded; answers how often, by the kind of repair."""
    repairs = reconciler.reconcile(current(), lambda: context.get_remaining_time_in_millis() < MARGIN_MS)
    for kind, count in repairs.items():
        _measure(kind, count)
    return dict(repairs)


def _measure(kind: str, count: int) -> None:
    """Write the metric ``Repairs`` (namespace ``Atoll``, dimensions ``stage`` and ``kind``) into the log (EMF)."""
    from aws_lambda_powertools import single_metric
    from aws_lambda_powertools.metrics import MetricUnit

    with single_metric(name="Repairs", unit=MetricUnit.Count, value=count, namespace="Atoll") as metric:
        metric.add_dimension("stage", current().settings.stage)
        metric.add_dimension("kind", kind)
