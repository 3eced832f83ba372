"""The errors of a request, which `api`, `mcp` and `workers` map to HTTP, MCP or a state machine's error."""

from typing import Literal, Self


class AtollError(Exception):
    """Base of all errors a caller may see. The message names the offending value and the rule."""


class BadRequest(AtollError):
    """The request cannot be honoured as it is (HTTP 400)."""


class Unauthorized(AtollError):
    """There is no credential, or it is not valid (HTTP 401)."""


class Forbidden(AtollError):
    """The credential does not reach this far (HTTP 403)."""


class NotFound(AtollError):
    """An unknown namespace, session, agent, thread or registry agent (HTTP 404)."""

    @classmethod
    def of_namespace(cls, name: str) -> Self:
        """Return the error for a namespace that is not there."""
        return cls(f"there is no namespace {name!r}")

    @classmethod
    def of_session(cls, namespace: str, session_id: str) -> Self:
        """Return the error for a session that is not there."""
        return cls(f"there is no session {session_id!r} in the namespace {namespace!r}")

    @classmethod
    def of_registry_agent(cls, name: str, version: str, why: str = "") -> Self:
        """Return the error for an agent that the registry does not have, with the reason if there is one."""
        return cls(f"there is no agent {name!r} in version {version!r}{why and f': {why}'}")


class Conflict(AtollError):
    """The request contradicts what is there (HTTP 409)."""


class TooLarge(AtollError):
    """The request or its answer exceeds a stated limit (HTTP 413); a listing goes on behind it at ``next_cursor``."""

    def __init__(self, message: str, *, next_cursor: str | None = None) -> None:
        super().__init__(message)
        self.next_cursor = next_cursor


class NotConfigured(AtollError):
    """A part of Coral that this deployment does not offer (HTTP 501)."""


class BadGateway(AtollError):
    """Another server that was called for the request did not answer as it should (HTTP 502)."""


class TryLater(AtollError):
    """Atoll cannot do it now; the same request may succeed after ``retry_after_s`` (HTTP 503)."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TooManyRequests(TryLater):
    """The caller has used up what ``limit`` names; there may be more after ``retry_after_s`` (HTTP 429)."""

    def __init__(self, message: str, *, limit: str, retry_after_s: int) -> None:
        super().__init__(message, retry_after_s)
        self.limit = limit


class BudgetReached(AtollError):
    """What is left of a budget does not pay for a call (HTTP 402). Amounts are millionths of a US dollar."""

    def __init__(
        self,
        message: str,
        *,
        level: Literal["session", "agent"],
        available_micro_usd: int,
        needed_micro_usd: int,
        on_reached: Literal["refuse", "stop_agent", "close_session"],
        for_good: bool,
    ) -> None:
        super().__init__(message)
        #: Whose limit it is.
        self.level = level
        self.available_micro_usd = available_micro_usd
        self.needed_micro_usd = needed_micro_usd
        #: What follows, if it is ``for_good``: calls under way hold too little for it to fit once they have ended.
        self.on_reached = on_reached
        self.for_good = for_good
