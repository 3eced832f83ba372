"""A call of a model, as all that has to do with it knows it."""

import dataclasses
import threading
from typing import TYPE_CHECKING, NamedTuple, Self

from chalicelib.domain import budgets
from chalicelib.domain.actors import Actor
from chalicelib.models.requests import Prepared
from chalicelib.store.budgets import Budget
from chalicelib.wire.llm_proxy import LlmProvider, LlmProxyConfig, ResolvedProxy

if TYPE_CHECKING:
    from chalicelib.services import Services


@dataclasses.dataclass(frozen=True)
class Reach:
    """How far a call may go where it is made."""

    #: When it must have ended, epoch ms.
    until_ms: int
    #: The largest answer that can be handed on there.
    answer_bytes: int | None = None

    def at_most(self, configured_bytes: int) -> int:
        """Return how many bytes an answer may have."""
        return configured_bytes if self.answer_bytes is None else min(configured_bytes, self.answer_bytes)


#: How many agents' calls are numbered on; those of another begin anew.
_MOST_NUMBERED = 10_000


class CallNumbers:
    """Numbers the calls of each agent from 1, for what is logged of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last: dict[tuple[str, str], int] = {}

    def next(self, actor: Actor) -> int:
        """Return the number of an agent's next call."""
        with self._lock:
            if len(self._last) >= _MOST_NUMBERED:
                self._last.clear()
            key = actor.session_id, actor.name
            self._last[key] = self._last.get(key, 0) + 1
            return self._last[key]


class Caller(NamedTuple):
    """An agent that calls a model, and the budgets of its session, as both were just now."""

    actor: Actor
    budget: Budget | None

    @classmethod
    def of(cls, services: "Services", actor: Actor) -> Self:
        """Read the budgets of an agent's session: for code that calls a model in its name."""
        return cls(actor, budgets.find(services, actor.session_id))


@dataclasses.dataclass(frozen=True)
class ModelCall:
    """A call of a model: the agent that makes it, the provider and model, and the request."""

    services: "Services"
    caller: "Caller"
    #: The name of the agent's proxy.
    proxy_name: str
    proxy: ResolvedProxy
    provider: LlmProvider
    config: LlmProxyConfig
    prepared: Prepared
    reach: Reach

    @property
    def actor(self) -> Actor:
        """The agent that calls."""
        return self.caller.actor
