"""The actor of a call in a session: an agent, known by its secret or named by a user of the puppet API."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from chalicelib.domain import agent_secrets
from chalicelib.domain.errors import BadRequest, Conflict, NotFound, Unauthorized
from chalicelib.store.agents import AgentRecord
from chalicelib.store.log import Full, Sealed, Ticket
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.threads import ThreadRecord
from chalicelib.wire.events import AgentConnected

if TYPE_CHECKING:
    from chalicelib.store.budgets import Budget
    from chalicelib.stores import Stores

logger = logging.getLogger(__name__)


class Beside(NamedTuple):
    """What is to be read in one call with an agent, because the request is about it."""

    thread_id: str | None = None
    #: The head of the session's log.
    head: bool = False


ALONE = Beside()

_NOT_VALID = "the agent secret is not valid"


class Actor(NamedTuple):
    """An agent in its session, as both were when the request came, and what was read `Beside` them."""

    session: SessionRecord
    agent: AgentRecord
    thread: ThreadRecord | None = None
    head: Ticket | None = None

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.agent.name

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self.session.session_id

    @property
    def ids(self) -> dict[str, str]:
        """What a line of the log says that it is about."""
        return {"namespace": self.session.namespace, "session": self.session_id, "agent": self.name}


def by_secret(stores: "Stores", secret: str, beside: Beside = ALONE) -> Actor:
    """Return whom a secret proves; one DynamoDB call, and none for a secret that was not made here.

    Raises `Unauthorized` for anything but the secret of an agent of an executed session. The message does
    not say which part was wrong.
    """
    actor = once_proved(stores, secret, beside)
    if actor is None or not may_act(actor, secret):
        raise Unauthorized(_NOT_VALID)
    return actor


def once_proved(stores: "Stores", secret: str, beside: Beside = ALONE) -> Actor | None:
    """Return whose secret this is, or was: whether it still may act is told by `may_act`.

    ``None`` when agent or session are gone. Raises `Unauthorized` for a secret that was not made here; nothing is read
    for that.
    """
    identity = proved(stores, secret)
    session, agent, thread, head = stores.reads.agent(*identity, beside.thread_id, head=beside.head)
    return None if session is None or agent is None else Actor(session, agent, thread, head)


def with_budget(stores: "Stores", secret: str) -> "tuple[Actor, Budget | None] | None":
    """Return whose secret this is, or was, as `once_proved` does, and the budgets of its session, in the same call."""
    session, agent, budget = stores.reads.agent_and_budget(*proved(stores, secret))
    return None if session is None or agent is None else (Actor(session, agent), budget)


def proved(stores: "Stores", secret: str) -> agent_secrets.AgentIdentity:
    """Return the agent that a secret names, there or not; nothing is read for that.

    Raises `Unauthorized` for a secret that was not made here.
    """
    identity = agent_secrets.parse(secret)
    if identity is None or not stores.minted(secret):
        raise Unauthorized(_NOT_VALID)
    return identity


def may_act(actor: Actor, secret: str) -> bool:
    """Return whether a secret that was made here is still that of its agent, in a session that is executed."""
    return actor.session.status == "executed" and agent_secrets.matches(secret, actor.agent.secret_hash)


def by_name(stores: "Stores", namespace: str, session_id: str, name: str, thread_id: str | None = None) -> Actor:
    """Return an agent in whose place a user acts, connected or not; one DynamoDB call, which reads a thread with it.

    Raises `NotFound` when namespace, session or agent is not there, `BadRequest` when the session is closing.
    """
    space, session, agent, thread = stores.reads.agent_in_namespace(namespace, session_id, name, thread_id)
    if space is None or space.forced:
        raise NotFound.of_namespace(namespace)
    if session is None:
        raise NotFound.of_session(namespace, session_id)
    if agent is None:
        raise NotFound(f"there is no agent {name!r} in the session {session_id!r}")
    if session.status == "closing":
        raise BadRequest(f"the session {session_id!r} is closing")
    return Actor(session, agent, thread)


@contextmanager
def writing(actor: Actor) -> Iterator[None]:
    """Let what an actor writes into its session's log be refused.

    Raises `NotFound` when the session is over meanwhile, `BadRequest` when its log has no room left.
    """
    try:
        yield
    except Sealed:
        raise NotFound.of_session(actor.session.namespace, actor.session_id) from None
    except Full as error:
        raise BadRequest(str(error)) from None


def connect(stores: "Stores", actor: Actor) -> bool:
    """Record an agent's first MCP request, in its state and in the log; ``False`` when it was recorded before."""
    if actor.agent.connected_at_ms is not None:
        return False
    now_ms = stores.clock.now_ms()
    event = AgentConnected(timestamp=now_ms, name=actor.name).to_wire()
    # Appended before it is noted: when that is cut off, the next request appends it again, as the same entry.
    entry_id = f"agent_connected-{actor.agent.position}"
    stores.log.append_once(actor.session_id, event, entry_id=entry_id, expires_at=actor.agent.expires_at)
    if not stores.agents.connect(actor.session_id, actor.name, now_ms=now_ms):
        return False
    logger.info("agent connected", extra=actor.ids)
    return True


def close_session(stores: "Stores", actor: Actor) -> None:
    """Close the actor's session; raise `Conflict` when it is closing already."""
    where = actor.session.namespace, actor.session_id
    if stores.sessions.close(*where, now_ms=stores.clock.now_ms(), reason="closed_by_agent") is None:
        raise Conflict(f"the session {actor.session_id!r} is closing already")
    logger.info("session closed by an agent", extra=actor.ids)
