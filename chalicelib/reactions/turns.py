"""Turns of agents that run as functions: what follows from a start, a message, or the end of a wait.

A message of the queue is a *nudge*: look whether this agent has something to do. What that is follows from the session
alone, so a nudge may come twice, late, out of order, or too often; and one is missing only where another comes. An
agent has something to do when it was started, when the log has a message behind its position that it waits for, or
when its wait is over. Then

1. the turn is claimed: the agent thinks from here on, and any other nudge of it finds that;
2. the function is called, with what the agent's last turn has left;
3. what it answers is stored by one write, on condition of the claim;
4. the log is looked at once for what came meanwhile: whoever wrote that saw an agent that waited for something else.

A function that fails is called again for the same turn; after `MOST_ATTEMPTS` its agent is stopped.
"""

import dataclasses
import json
import logging
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from chalicelib import telemetry
from chalicelib.aws.agent_functions import LONGEST_ERROR, Busy, FunctionFailed
from chalicelib.domain import actors, agent_secrets, masks, meeting, option_values, options, waits
from chalicelib.domain.errors import Conflict
from chalicelib.domain.nudges import group_of, nudge_of
from chalicelib.domain.sealing import Unreadable
from chalicelib.reactions import launches
from chalicelib.store.agents import AgentRecord
from chalicelib.store.log import Event, Full, LogEntry, Sealed
from chalicelib.store.turns import MOST_TOLD, NEVER_MS, Claim, Stored, TurnRecord
from chalicelib.wire import strict_json
from chalicelib.wire.events import AgentWaitStart, AgentWaitStop, FromFilter, MentionsFilter
from chalicelib.wire.faults import rule_of
from chalicelib.wire.registry import OWN_FUNCTION_PREFIX, PROTOTYPE_FUNCTION
from chalicelib.wire.threads import MAX_WAIT_MS, SessionThreadMessage
from chalicelib.wire.turns import MAX_STATE_BYTES, LaterNudge, Nudge, Reason, TurnAgent, TurnInput, TurnOutput

if TYPE_CHECKING:
    from chalicelib.agents import Here
    from chalicelib.services import Services
    from chalicelib.store.reads import TurnRead

logger = logging.getLogger(__name__)

#: How often a function is called for one turn before its agent is stopped, and the pauses between (s).
MOST_ATTEMPTS = 3
PAUSES_S = (1, 5)

#: How often a turn is put off whose function is throttled, and the longest pause (s): half an hour in all. After that
#: a call that is refused is a failure.
MOST_PUT_OFF = 35
LONGEST_PUT_OFF_S = 60

#: How much longer (ms) than its function's time a claim is believed in: what is done before and after the call.
CLAIM_MARGIN_MS = 30_000

#: What is left (ms) of an invocation beside the time of a turn when it begins another one.
TURN_MARGIN_MS = 40_000

#: How many turns follow each other in one invocation.
MOST_TURNS = 50

#: How many entries are read with the agent, one by one; a longer way is read by a query.
MOST_BESIDE = 8

#: Pauses (s) between two looks of a blocking agent at those that it waits for: an entry nudges it, but maybe too early.
LOOKS_S = (1, 2, 4, 8, 15, 30)


class UnderWay(Exception):
    """Another invocation has this agent's turn. It is over, or dead, when this nudge comes again."""


class _Ended(Exception):
    """An agent of Atoll's own cannot go on."""


class _Stopped(Exception):
    """An agent of Atoll's own was ended during its turn."""


@dataclasses.dataclass(frozen=True)
class _Due:
    """A turn that is to be taken."""

    reason: Reason
    #: The message that it is about.
    entry: LogEntry | None
    #: How far the log was looked at.
    reads_to: int


def run(services: "Services", nudge: Nudge, left_ms: Callable[[], int]) -> int:
    """Look what an agent has to do, and do it: turn after turn, as long as there is one and time is left.

    ``left_ms`` says how long this invocation may still take. Returns how many turns were stored. Raises `UnderWay`.
    """
    found = _read(services, nudge)
    if found.turn is None or found.agent is None:
        return 0
    if found.session is None or found.session.status != "executed" or found.agent.status == "stopped":
        if found.agent.status == "stopped":  # what stopped it was cut off
            services.turns.forget(nudge.session_id, nudge.agent)
        return 0
    agent = _Agent(services, found)
    if found.turn.exited:
        agent.stop("exited")
        return 0
    entries = _contiguous(found.turn, nudge, found.entries)
    turn: TurnRecord | None = found.turn
    for taken in range(MOST_TURNS):
        assert turn is not None
        due = agent.due(turn, entries)
        if due is None:
            agent.rest(turn, again=nudge.again and not taken)
            return taken
        if taken and left_ms() < services.settings.turn_limit_ms + TURN_MARGIN_MS:
            break
        turn = agent.take(turn, due)
        if turn is None:
            return taken
        entries = None
    assert turn is not None
    group = group_of(turn)
    services.turn_queue.nudge([(group, f"{group}/on-{turn.turn}", nudge_of(turn))])
    return taken


def _read(services: "Services", nudge: Nudge) -> "TurnRead":
    """Read the agent, and with it what the nudge is about, if that is near to how far the agent has read."""
    positions: Sequence[int] = ()
    if nudge.position is not None and nudge.after is not None and nudge.position - nudge.after <= MOST_BESIDE:
        positions = range(nudge.after + 1, nudge.position + 1)
    where = nudge.namespace, nudge.session_id, nudge.agent
    return services.reads.turn(*where, nudge.thread_id, positions)


def _contiguous(turn: TurnRecord, nudge: Nudge, entries: Sequence[LogEntry]) -> list[LogEntry] | None:
    """Return entries from behind an agent's position on; ``None`` when one is missing: then the log is to be read."""
    if nudge.position is None or nudge.after is None or turn.position < nudge.after:
        return None
    wanted = [entry for entry in entries if entry.position > turn.position]
    return wanted if len(wanted) == max(0, nudge.position - turn.position) else None


class _Agent:
    """One agent in its session, as it was read when its nudge came."""

    def __init__(self, services: "Services", found: "TurnRead") -> None:
        assert found.session is not None
        assert found.agent is not None
        self._services = services
        self._stored_options = found.options
        self._thread = found.thread
        self.actor = actors.Actor(found.session, found.agent, found.thread)

    @property
    def _agent(self) -> AgentRecord:
        return self.actor.agent

    # What is to be done

    def due(self, turn: TurnRecord, entries: Sequence[LogEntry] | None) -> _Due | None:
        """Return the turn that is to be taken now; ``entries`` are the log behind its position, if that was read.

        Raises `UnderWay`.
        """
        now_ms = self._services.clock.now_ms()
        if turn.claim_id is not None and (turn.busy_until_ms or 0) > now_ms:
            raise UnderWay(f"the agent {turn.name!r} of {turn.session_id} is in a turn")
        if turn.in_turn:
            return None if (turn.again_at_ms or 0) > now_ms else self._unfinished(turn)
        if turn.turn == 0:
            return self._start(turn)
        hearing = waits.hearing_of(turn)
        if self._thread is not None:
            hearing.learn(self._thread.thread_id, self._thread)
        try:
            entry, reached = waits.first_heard(
                self._services, turn, hearing, self._behind(turn) if entries is None else entries
            )
        except Conflict:  # it has ended meanwhile
            return None
        finally:
            self._thread = None  # the next look reads it anew
        if entry is not None:
            return _Due("message", entry, reached)
        over = turn.deadline_ms is not None and turn.deadline_ms <= now_ms
        return _Due("timeout", None, reached) if over else None

    def _behind(self, turn: TurnRecord) -> Iterable[LogEntry]:
        return self._services.log.read(turn.session_id, turn.position + 1)

    def _unfinished(self, turn: TurnRecord) -> _Due | None:
        entry = None
        if turn.message_position is not None:
            entry = next(iter(self._services.log.read(turn.session_id, turn.message_position)), None)
            if entry is None or "message" not in entry.event:
                return None  # purged meanwhile
        reason: Reason = "started" if turn.reason == "started" else "message" if entry else "timeout"
        return _Due(reason, entry, turn.reads_to or 0)

    def _start(self, turn: TurnRecord) -> _Due | None:
        """Return the first turn, unless the agent waits for others that are to be there before it speaks."""
        if self._connects and self._agent.connected_at_ms is None:
            with suppress(Full, Sealed):
                actors.connect(self._services, self.actor)
        if turn.blocking and self._connects:
            since_ms = self._agent.connected_at_ms or self._services.clock.now_ms()
            waited_ms = self._services.clock.now_ms() - since_ms
            if waited_ms < MAX_WAIT_MS and meeting.missing(
                self._services.agents.of_session(turn.session_id), turn.name
            ):
                looks = sum(pause_s * 1000 <= waited_ms for pause_s in LOOKS_S)
                pause_s = LOOKS_S[min(looks, len(LOOKS_S) - 1)]
                self._later(turn, self._services.clock.now_ms() + pause_s * 1000, number=1_000 + looks)
                return None
        return _Due("started", None, 0)

    @property
    def _connects(self) -> bool:
        """Whether a turn is a sign of life: the socket agent only keeps a place for another process."""
        return self._function.get("function") != f"{OWN_FUNCTION_PREFIX}socket"

    @property
    def _is_prototype(self) -> bool:
        """Whether it says itself when it waits, as its tools do: a pause between its iterations is no wait."""
        return self._function.get("function") == PROTOTYPE_FUNCTION

    @property
    def _function(self) -> dict[str, str]:
        return self._agent.function or {}

    def rest(self, turn: TurnRecord, *, again: bool) -> None:
        """Do what may not have been done after the last turn, if its nudge comes ``again``: it was cut off."""
        if again and (due_ms := turn.again_at_ms or turn.deadline_ms) is not None:
            self._later(turn, due_ms)

    def _later(self, turn: TurnRecord, due_ms: int, *, number: int = 0) -> None:
        self._services.turn_queue.later(
            LaterNudge(nudge=nudge_of(turn), due_ms=due_ms, turn=turn.turn, number=number or turn.attempts)
        )

    # A turn

    def take(self, turn: TurnRecord, due: _Due) -> TurnRecord | None:
        """Take a turn and return what it leaves; ``None`` when it failed, or the agent has ended meanwhile."""
        services, now_ms = self._services, self._services.clock.now_ms()
        if turn.attempts >= MOST_ATTEMPTS:
            self.stop(turn.error or f"turn {turn.turn + 1} was cut off {MOST_ATTEMPTS} times")
            return None
        claim = Claim(
            claim_id=uuid.uuid4().hex,
            busy_until_ms=now_ms + services.settings.turn_limit_ms + CLAIM_MARGIN_MS,
            reason=due.reason,
            message_position=due.entry.position if due.entry else None,
            reads_to=due.reads_to,
            attempts=turn.attempts + 1,
        )
        first = not turn.in_turn
        claimed = services.turns.claim(turn, claim)
        if claimed is None:
            return None
        message = SessionThreadMessage.model_validate(due.entry.event["message"]) if due.entry else None
        if message is not None and first and not self._is_prototype:  # one that is tried again has said so
            self._tell(lambda stamp_ms: AgentWaitStop(timestamp=stamp_ms, name=turn.name, message=message).to_wire())
        try:
            output, version = self._called(claimed, due.reason, message)
        except _Stopped as error:
            telemetry.count("Turns", outcome="lost")
            logger.info("turn given up", extra={**self.actor.ids, "reason": str(error)})
            return None
        except _Ended as error:
            reason = self._masked(str(error))[:LONGEST_ERROR]
            self._say([reason], failed=True)
            self.stop(reason)
            return None
        except (FunctionFailed, Unreadable, Busy) as error:
            put_off = isinstance(error, Busy) and claimed.put_off < MOST_PUT_OFF
            self._failed(claimed, claim, str(error), put_off=put_off)
            return None
        return self._store(claimed, claim, due, output, version)

    def _called(
        self, turn: TurnRecord, reason: Reason, message: SessionThreadMessage | None
    ) -> tuple[TurnOutput, str | None]:
        """Call the function and check what it answers; raise `FunctionFailed` naming what is wrong, or `Busy`."""
        state = self._services.turns.state_of(turn)
        given = TurnInput(
            agent=self._about(),
            turn=turn.turn + 1,
            reason=reason,
            message=message,
            state=None if state is None else json.loads(state),
        )
        name = self._function.get("function", "")
        if name.startswith(OWN_FUNCTION_PREFIX):
            from chalicelib import agents

            here = agents.Here(self._services, self._proved(), given, self._say)
            try:
                if self._is_prototype:
                    return self._prototype(here), None
                own = agents.OWN[name.removeprefix(OWN_FUNCTION_PREFIX)]
                return checked(json.dumps(own(here)).encode()), None
            except agents.Stopped as error:
                raise _Stopped(str(error)) from error
        answer = self._services.agent_functions.call(self._agent, self._function, turn.version, given.to_wire())
        return checked(answer.payload), answer.version

    def _prototype(self, here: "Here") -> TurnOutput:
        from chalicelib.agents import prototype

        try:
            return checked(json.dumps(prototype.take(self._services, here)).encode())
        except prototype.Ended as error:
            raise _Ended(str(error)) from error

    def _proved(self) -> actors.Actor:
        """Return the agent as it acts: connected, whatever was read before."""
        agent = self._agent
        if agent.connected_at_ms is None:
            agent = dataclasses.replace(agent, connected_at_ms=self._services.clock.now_ms())
        return self.actor._replace(agent=agent, thread=None)

    def _about(self) -> TurnAgent:
        agent, urls = self._agent, self._services.stage_urls.get()
        secret = self._secret()
        text = option_values.text_of(
            self._services, self._stored_options, session_id=agent.session_id, agent=agent.name
        )
        return TurnAgent(
            name=agent.name,
            namespace=agent.namespace,
            session_id=agent.session_id,
            connection_url=f"{urls.mcp}/mcp/v1/{secret}/mcp",
            secret=secret,
            api_url=urls.api,
            options=options.plain(options.ResolvedOptions.from_json(text or "{}")),
            system_prompt=agent.system_prompt,
        )

    def _secret(self) -> str:
        """Return the agent's secret, which a key derives that may have been replaced since."""
        agent = self._agent
        for key in self._services.agent_keys.candidates():
            secret = agent_secrets.mint(key, agent.namespace, agent.session_id, agent.name)
            if agent_secrets.matches(secret, agent.secret_hash):
                return secret
        raise FunctionFailed("the agent's secret is not known any more: the key was replaced twice since it started")

    def _store(
        self, turn: TurnRecord, claim: Claim, due: _Due, output: TurnOutput, version: str | None
    ) -> TurnRecord | None:
        services, now_ms = self._services, self._services.clock.now_ms()
        wait = output.wait
        told = [*turn.told, due.entry.position][-MOST_TOLD:] if due.entry else turn.told
        stored = services.turns.store(
            turn,
            Stored(
                claim_id=claim.claim_id,
                position=max(turn.position, due.reads_to),
                told=told,
                waits_for=wait.for_,
                from_agent=wait.agent_name,
                deadline_ms=None if wait.max_wait_ms is None else min(now_ms + wait.max_wait_ms, NEVER_MS),
                state=_as_json(output.state) if "state" in output.model_fields_set else None,
                version=turn.version or version,
                exited=output.exit,
            ),
        )
        telemetry.count("Turns", outcome="lost" if stored is None else due.reason)
        if stored is None:
            return None
        if stored.exited:
            self.stop("exited")
            return None
        if stored.deadline_ms is not None and stored.deadline_ms > now_ms:
            self._later(stored, stored.deadline_ms)
        if not self._is_prototype:
            self._waits(stored)
        return stored

    def _waits(self, turn: TurnRecord) -> None:
        filters = [MentionsFilter(name=turn.name)] if turn.waits_for == "mention" else []
        filters_from = [FromFilter(name=turn.from_agent or "")] if turn.waits_for == "agent" else []
        wait = AgentWaitStart(timestamp=0, name=turn.name, filters=[*filters, *filters_from])
        self._tell(lambda stamp_ms: wait.model_copy(update={"timestamp": stamp_ms}).to_wire())

    def _tell(self, event_at: Callable[[int], Event]) -> None:
        # The session is over, and what ends it is in its log or on the way; or the log has no room for more.
        with suppress(Sealed, Full):
            self._services.log.append_in_a_row(self.actor.session_id, [event_at], expires_at=self._agent.expires_at)

    # Failures

    def _failed(self, turn: TurnRecord, claim: Claim, error: str, *, put_off: bool) -> None:
        """Note that a turn has failed: it is tried again in a while, or its agent is stopped."""
        services = self._services
        reason = self._masked(error)
        telemetry.count("TurnsFailed", kind="put off" if put_off else "failed")
        number = f"turn {turn.turn + 1} ({turn.reason})"
        if put_off:
            pause_s = min(2**turn.put_off, LONGEST_PUT_OFF_S)
            self._say([f"{number} is put off for {pause_s} s: {reason}"], failed=True)
        elif claim.attempts >= MOST_ATTEMPTS:
            self._say([f"{number} failed for the last time: {reason}"], failed=True)
            self.stop(reason)
            return
        else:
            pause_s = PAUSES_S[claim.attempts - 1]
            self._say([f"{number} failed, and is tried again in {pause_s} s: {reason}"], failed=True)
        again_at_ms = services.clock.now_ms() + pause_s * 1000
        if services.turns.release(turn, claim.claim_id, error=reason, again_at_ms=again_at_ms, put_off=put_off):
            number_of_try = 100 * (turn.put_off + 1) if put_off else claim.attempts
            self._later(turn, again_at_ms, number=number_of_try)

    def _masked(self, text: str) -> str:
        """Hide the agent's secrets in what its function said: stop reasons are shown to who may see the session."""
        try:
            values = option_values.text_of(
                self._services, self._stored_options, session_id=self.actor.session_id, agent=self.actor.name
            )
        except Unreadable:
            return text
        return masks.of(values).applied(text)

    def _say(self, lines: Sequence[str], *, failed: bool = False) -> None:
        """Write lines into the agent's log; a turn does not fail with that."""
        from chalicelib.aws.errors import is_aws_error

        try:
            self._services.agent_lines.write(self._agent, [self._masked(line) for line in lines], failed=failed)
        except Exception as error:
            if not is_aws_error(error):
                raise
            logger.warning("lines were not written", extra={**self.actor.ids, "error": type(error).__name__})

    def stop(self, reason: str) -> None:
        """Stop the agent; when it was the last one, its session closes as its turns are gone."""
        launches.stopped(self._services, self._agent, reason=reason, at_ms=self._services.clock.now_ms())


def checked(payload: bytes) -> TurnOutput:
    """Read what a function has answered; raise `FunctionFailed` that names what is wrong with it."""
    try:
        answer = strict_json.loads(payload or b"null")
    except (ValueError, RecursionError) as error:
        raise FunctionFailed(f"the function's answer is no JSON: {error}"[:LONGEST_ERROR]) from None
    if answer is None:
        answer = {}
    if not isinstance(answer, dict):
        raise FunctionFailed(f"the function's answer is no JSON object: it is a {type(answer).__name__}")
    try:
        output = TurnOutput.model_validate(answer, by_alias=True, by_name=False)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'it'}: {rule_of(fault)}" for fault in error.errors()[:3]]
        raise FunctionFailed(f"the function's answer is wrong: {'; '.join(faults)}") from None
    size = len(_as_json(output.state).encode("utf-8", "surrogatepass"))
    if size > MAX_STATE_BYTES:
        raise FunctionFailed(f"the function's state has {size} bytes: at most {MAX_STATE_BYTES} are kept")
    return output


def _as_json(state: Any) -> str:
    text = json.dumps(state, separators=(",", ":"), ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, which DynamoDB does not take
        return json.dumps(state, separators=(",", ":"))
    return text
