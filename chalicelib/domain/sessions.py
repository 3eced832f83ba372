"""Sessions for clients: creating, executing, closing and reading them."""

import uuid
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from chalicelib.domain import (
    agent_environment,
    agents,
    budgets,
    graph,
    idempotency,
    namespaces,
    option_values,
    quotas,
    threads,
    tokens,
)
from chalicelib.domain.errors import BadRequest, NotFound, TooLarge, TryLater
from chalicelib.domain.idempotency import Claim
from chalicelib.settings import DAY_S
from chalicelib.store.agents import AgentRecord
from chalicelib.store.namespaces import NamespaceRecord
from chalicelib.store.sessions import CloseReason, SessionRecord
from chalicelib.wire import requests
from chalicelib.wire.namespaces import SessionNamespaceRequest
from chalicelib.wire.sessions import (
    MAX_DURATION_MS,
    Closing,
    Executed,
    HoldAfterExit,
    MinimumTime,
    PendingExecution,
    SessionIdentifier,
    SessionNamespaceStateExtended,
    SessionRuntimeSettings,
    SessionStateBase,
    SessionStateExtended,
)

if TYPE_CHECKING:
    from chalicelib.stores import Stores


#: Sessions of one namespace in one answer: a base state takes 200 bytes at least, an answer has 5 MB.
MAX_SESSIONS_TOGETHER = 25_000
#: What a base state takes at least in an answer.
_STATE_BYTES = 200


def create(
    stores: "Stores",
    request: "requests.SessionRequest",
    claim: Claim | None = None,
    meters: Sequence[quotas.Meter] = (),
    *,
    tries: int = 3,
) -> SessionIdentifier:
    """Create a session, and execute it unless that is deferred; requests with the same claim create one session.

    It is taken from the quotas of ``meters`` before anything is written. The record is the last thing written: a crash
    before it leaves items that no reader sees, and that expire. A session whose namespace was deleted meanwhile is
    taken back before it can run, and made anew where the namespace may be.

    Raises `BadRequest` for a graph that cannot be honoured, `NotFound` for a namespace that must exist and does not,
    `Conflict` for a claim that another request has made, `TooLarge` for what is too large to be stored, `TryLater`
    while a namespace of that name is being deleted, `TooManyRequests` for a quota that is used up.
    """
    if claim and (earlier := idempotency.created(stores, claim)):
        return earlier
    provider = request.namespace_provider
    wanted = provider.namespace_request if isinstance(provider, requests.CreateIfNotExists) else None
    name = wanted.name if wanted else provider.name  # type: ignore[union-attr]
    namespace, registered = graph.read(stores, name, request.agent_graph_request)
    plan = graph.plan(stores, request.agent_graph_request, registered)
    settings = request.execution.runtime_settings if isinstance(request.execution, requests.Immediate) else None
    _check_ttl(stores, settings)
    session_id = str(uuid.uuid4())
    now_ms = stores.clock.now_ms()
    # The agents of a deferred session must outlive whatever settings it is executed with.
    expires_at = longest_life_s(stores, now_ms, settings)
    records, texts = plan.records(name, session_id, created_at_ms=now_ms, expires_at=expires_at)
    budget = budgets.asked_for(request.agent_graph_request, name, session_id, expires_at)
    tools = plan.tools
    for agent in records:
        agent_environment.check(stores, agent, texts.get(agent.name))
    stored = option_values.to_store(stores, session_id, texts, plan.options)
    with quotas.admitted(
        stores, meters, name, session_id, agents=len(records), runs=settings is not None
    ) as metered_by:
        while namespace is None or namespace.forced:
            namespace = _namespace_for(stores, name, namespace, wanted)

    now_ms = stores.clock.now_ms()
    record = SessionRecord(
        namespace=name,
        session_id=session_id,
        status="executed" if settings else "pending_execution",
        created_at_ms=now_ms,
        executed_at_ms=now_ms if settings else None,
        expires_at=longest_life_s(stores, now_ms, settings)
        if settings
        else now_ms // 1000 + stores.settings.pending_session_s,
        namespace_state=namespaces.state_of(namespace).to_wire(),
        annotations=request.annotations,
        groups=request.agent_graph_request.groups,
        registry_agents=sorted({f"{agent.id.name} {agent.id.version}" for agent in request.agent_graph_request.agents}),
        runtime_settings=settings.to_wire() if settings else None,
        metered_by=metered_by or None,
    )
    created = SessionIdentifier(namespace=name, session_id=session_id)
    stores.agents.create_all(records, stored, tools)
    if budget is not None:
        stores.budgets.create(budget)
    if claim is None:
        stores.sessions.create(record)
    elif not stores.claims.create_with(claim.record(stores, created), record):
        # Another request with this claim was quicker. No reader sees what was written for this one.
        stores.session_items.purge(session_id, at_most=3 * len(records) + len(tools) + 2)
        quotas.give_back(stores, metered_by, session_id)
        return idempotency.created(stores, claim) or create(stores, request, claim, meters, tries=tries)
    recreate = (lambda: namespaces.record_of(stores, wanted)) if wanted else None
    # One that runs or is gone belongs to the namespace as it was before it was deleted, and ends with it.
    if namespaces.keep_for(stores, name, recreate) or not stores.sessions.take_back(record):
        return created
    quotas.give_back(stores, metered_by, session_id)
    if claim:
        stores.claims.remove(claim.claim_id)
    if wanted is None:
        raise NotFound.of_namespace(name)
    if tries <= 1:
        raise TryLater(f"the namespace {name!r} is deleted again and again", retry_after_s=5)
    namespaces.wait_until_gone(stores, name)
    return create(stores, request, claim, meters, tries=tries - 1)


def _namespace_for(
    stores: "Stores", name: str, found: NamespaceRecord | None, wanted: SessionNamespaceRequest | None
) -> NamespaceRecord | None:
    if wanted is None:
        raise NotFound.of_namespace(name)
    if found is not None:  # it is being deleted by request
        namespaces.wait_until_gone(stores, name)
    record = namespaces.record_of(stores, wanted)
    return record if stores.namespaces.create(record) else stores.namespaces.find(name)


#: The longest life of a session, its hold included, in ms: one execution of a state machine holds it, which lasts a
#: year at most (Step Functions quotas, "Maximum execution time"). Its last steps may be tried again for a day each.
MAX_LIFE_MS = 363 * DAY_S * 1000


def _check_ttl(stores: "Stores", settings: SessionRuntimeSettings | None) -> None:
    days = stores.settings.max_session_days
    if settings is not None and settings.ttl is not None and settings.ttl > days * DAY_S * 1000:
        raise BadRequest(f"runtimeSettings.ttl: {settings.ttl} ms is more than the {days} days that a session may live")
    if settings is not None and (whole_ms := _life_ms(stores, settings)) > MAX_LIFE_MS:
        raise BadRequest(
            f"runtimeSettings: ttl and hold are {whole_ms} ms together: a session exists for {MAX_LIFE_MS} ms at most"
        )


def _life_ms(stores: "Stores", settings: SessionRuntimeSettings) -> int:
    """Return how long a session may exist after its execution, its hold included."""
    run_ms = settings.ttl if settings.ttl is not None else stores.settings.session_s * 1000
    mode = settings.persistence_mode
    if isinstance(mode, HoldAfterExit):
        return run_ms + mode.duration
    return max(run_ms, mode.time) if isinstance(mode, MinimumTime) else run_ms


def longest_life_s(stores: "Stores", now_ms: int, settings: SessionRuntimeSettings | None) -> int:
    """Return when (epoch s) the items of a session may be collected even if every reaction to it was lost."""
    limits = stores.settings
    if settings is None:  # pending: any settings may follow
        longest_s = MAX_DURATION_MS // 1000
        run_s = max(limits.session_s, longest_s)
        return now_ms // 1000 + limits.pending_session_s + run_s + longest_s + limits.retention_s
    run_s = -(-settings.ttl // 1000) if settings.ttl is not None else limits.session_s
    mode = settings.persistence_mode
    hold_ms = mode.duration if isinstance(mode, HoldAfterExit) else mode.time if isinstance(mode, MinimumTime) else 0
    return now_ms // 1000 + run_s + -(-hold_ms // 1000) + limits.retention_s


def read(stores: "Stores", namespace: str, session_id: str) -> tuple[NamespaceRecord, SessionRecord]:
    """Read a session and its namespace in one call; raise `NotFound` when clients see no such session."""
    space, session = stores.reads.session(namespace, session_id)
    if space is None or space.forced:
        raise NotFound.of_namespace(namespace)
    if session is None:
        raise NotFound.of_session(namespace, session_id)
    return space, session


def execute(stores: "Stores", namespace: str, session_id: str, settings: SessionRuntimeSettings) -> None:
    """Execute a deferred session.

    Raises `BadRequest` when it is not pending or is to live too long, `NotFound` when it does not exist.
    """
    _check_ttl(stores, settings)
    read(stores, namespace, session_id)
    now_ms = stores.clock.now_ms()
    executed = stores.sessions.execute(
        namespace,
        session_id,
        now_ms=now_ms,
        runtime_settings=settings.to_wire(),
        expires_at=longest_life_s(stores, now_ms, settings),
    )
    if executed is None:
        raise BadRequest(f"the session {session_id!r} is not pending execution")


def close(stores: "Stores", namespace: str, session_id: str, *, reason: CloseReason = "closed_by_user") -> None:
    """Close a session; one that is pending is removed, one that is closing already is left alone.

    Raises `NotFound` when the session or its namespace does not exist.
    """
    _, record = read(stores, namespace, session_id)
    if record.status == "pending_execution" and stores.sessions.remove(namespace, session_id, status=record.status):
        return
    stores.sessions.close(namespace, session_id, now_ms=stores.clock.now_ms(), reason=reason)


def state(stores: "Stores", namespace: str, session_id: str) -> SessionStateBase:
    """Return a session's base state."""
    return state_of(read(stores, namespace, session_id)[1])


def extended_state(stores: "Stores", namespace: str, session_id: str, bounds: "threads.Bounds") -> SessionStateExtended:
    """Return a session's state with its agents and threads.

    Raises `NotFound` for an unknown session, `TooLarge` as `extended_state_of` does.
    """
    return extended_state_of(stores, read(stores, namespace, session_id)[1], bounds)


def extended_state_of(stores: "Stores", record: SessionRecord, bounds: "threads.Bounds") -> SessionStateExtended:
    """Add the agents and the threads to a session's base state.

    Raises `TooLarge` as soon as its threads and messages take more than the bounds.
    """
    now_ms = stores.clock.now_ms()
    tokens_of = tokens.reader(stores, record, bounds.deadline_ms)
    found = stores.agents.of_session(record.session_id)
    return SessionStateExtended(
        base=state_of(record),
        agents=[agents.state_of(agent, now_ms, tokens_of(agent)) for agent in found],
        threads=threads.views(stores, record.session_id, live=threads.is_live(record), bounds=bounds),
    )


def state_without_messages(
    stores: "Stores", record: SessionRecord, of_agents: Sequence[AgentRecord]
) -> tuple[SessionStateExtended, bool]:
    """Return a session's state without messages, and whether it has no threads because they are too large."""
    now_ms, found = stores.clock.now_ms(), threads.bounded(stores, record.session_id)
    tokens_of = tokens.at_the_end(stores, record)
    state = SessionStateExtended(
        base=state_of(record),
        agents=[agents.state_of(agent, now_ms, tokens_of(agent)) for agent in of_agents],
        threads=list(map(threads.view, found or ())),
    )
    return state, found is None


def state_of(record: SessionRecord) -> SessionStateBase:
    """Return a session record as clients see it.

    Its timestamp is that of the session's creation, as Coral Server writes it; its OpenAPI document speaks of the
    time of the view.
    """
    return SessionStateBase(
        id=record.session_id,
        timestamp=record.created_at_ms,
        namespace=record.namespace,
        status=_status_of(record),
        annotations=record.annotations,
    )


def _status_of(record: SessionRecord) -> PendingExecution | Executed | Closing:
    if record.executed_at_ms is None:
        return PendingExecution()
    if record.closing_at_ms is None:
        return Executed(execution_time=record.executed_at_ms)
    return Closing(execution_time=record.executed_at_ms, closing_time=record.closing_at_ms)


def of_namespace(
    stores: "Stores", namespace: str, *, start: str | None = None, limit: int | None = None
) -> Iterator[SessionRecord]:
    """Return the sessions of a namespace from behind the one with the id ``start`` on, ``limit`` of them a call.

    Raises `NotFound` when the namespace is not there.
    """
    found = stores.sessions.shown(namespace, start=start, limit=limit)
    if found is None:  # the namespace itself says whether its sessions are hidden or it does not exist
        namespaces.find(stores, namespace)
        return stores.sessions.of_namespace(namespace, start=start, limit=limit)
    return found


def namespace_with_sessions(
    stores: "Stores", record: NamespaceRecord, bounds: "threads.Bounds"
) -> SessionNamespaceStateExtended:
    """Return a namespace with the base states of its sessions.

    Raises `TooLarge` when they are more than any answer holds, or take more than the bounds.
    """
    found, size = list[SessionStateBase](), 0
    for session in stores.sessions.of_namespace(record.name):
        size += _STATE_BYTES + sum(len(key) + len(value) for key, value in session.annotations.items())
        if len(found) == MAX_SESSIONS_TOGETHER:
            raise _too_many(record, f"has more than {MAX_SESSIONS_TOGETHER} sessions")
        if size > bounds.answer_bytes:
            raise _too_many(record, f"has sessions of more than {bounds.answer_bytes} bytes")
        if stores.clock.now_ms() > bounds.deadline_ms:
            raise _too_many(record, "has sessions that take too long to be read")
        found.append(state_of(session))
    return SessionNamespaceStateExtended(base=namespaces.state_of(record), sessions=found)


def _too_many(record: NamespaceRecord, why: str) -> TooLarge:
    return TooLarge(f"the namespace {record.name!r} {why}: list them page by page, with limit and cursor")
