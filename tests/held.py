"""Waiting for what no answer of the REST API shows: that a session's end report is frozen and its hold has begun.

`closing` comes first, while agents are still being stopped; a test that needs a session on *hold* waits with this.
"""

from infra.local.stack import LocalStack
from tests.client import eventually


def wait_until_held(stack: LocalStack, path: str, within_s: float = 10) -> int:
    """Wait until the session behind a path is held; return until when (epoch ms)."""
    *_, namespace, session_id = path.split("/")

    def hold_until_ms() -> int | None:
        record = stack.services.sessions.find(namespace, session_id)
        return record.hold_until_ms if record else None

    found: int = eventually(hold_until_ms, within_s, f"{path} is held")
    return found
