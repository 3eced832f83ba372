"""What pydantic finds wrong, as people read it."""

from collections.abc import Mapping
from typing import Any

#: What pydantic puts before what a validator of ours says.
_OURS = "Value error, "


def rule_of(fault: Mapping[str, Any]) -> str:
    """Return the rule that a value breaks, of one of a ``ValidationError``'s errors; never the value itself."""
    return str(fault["msg"]).removeprefix(_OURS)
