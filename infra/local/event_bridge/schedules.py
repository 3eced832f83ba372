"""The scheduled rules of EventBridge."""

import re
from collections.abc import Callable

from infra.local.background import Background

_UNITS_S = {"minute": 60, "hour": 3600, "day": 86400}


def schedule(expression: str, background: Background, tick: Callable[[], None]) -> None:
    """Do something again and again, as ``rate(5 minutes)`` says.

    Raises
    ------
    ValueError
        when the expression is not known here.
    """
    match = re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression)
    if match is None:
        raise ValueError(f"the local stack knows no schedule {expression!r}")
    background.every(int(match[1]) * _UNITS_S[match[2]], tick)
