"""Quotas of an API key, and of a namespace: what one caller, or one tenant, may take.

Without quotas none of this makes a call. They come with the key (`api_keys.read`), so a new one holds within a minute.
What is exact and what is not: docs/security.md, "Quotas".
"""

import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from chalicelib.domain import api_keys
from chalicelib.domain.errors import AtollError, BadRequest, TooManyRequests
from chalicelib.settings import DAY_S
from chalicelib.store.api_keys import ApiKeyRecord, Limits
from chalicelib.store.sessions import SessionRecord
from chalicelib.store.usage import Opening, Usage

if TYPE_CHECKING:
    from chalicelib.stores import Stores

SESSIONS, AGENTS = "sessions", "agents"
CREATIONS_PER_MINUTE, REQUESTS_PER_SECOND = "creations_per_minute", "requests_per_second"
AGENT_HOURS_PER_DAY = "agent_hours_per_day"

#: Each quota and its largest value. The open sessions of one scope are an item, which a creation writes anew.
NAMES: Mapping[str, int] = {
    SESSIONS: 1_000,
    AGENTS: 100_000,
    CREATIONS_PER_MINUTE: 6_000,
    REQUESTS_PER_SECOND: 500,
    AGENT_HOURS_PER_DAY: 1_000_000,
}

#: Quotas that are looked at when a session is created.
_OF_CREATIONS = frozenset({SESSIONS, AGENTS, CREATIONS_PER_MINUTE, AGENT_HOURS_PER_DAY})

DAY_MS = DAY_S * 1000
HOUR_MS = 3_600_000

#: How many namespaces, or prefixes of some, may have quotas: they are one item.
MOST_NAMESPACES = 500

#: Open sessions are compared with those that there are when a quota would refuse, but no more often than this, in ms.
COMPARE_EVERY_MS = 5_000

#: How long a creation may take from its admission to its record, in ms: until then a session may be open without one.
CREATION_MS = 60_000

#: When to try again where only the end of a session helps, in s.
_WHEN_ONE_ENDS_S = 30

#: Scopes of which a process remembers that their rate is not kept.
_REMEMBERED = 1_000


@dataclasses.dataclass(frozen=True)
class Meter:
    """The quotas of one scope: a key's, or a namespace's."""

    scope: str
    #: Whose they are, in words.
    whose: str
    limits: Limits

    def refusal(self, name: str, retry_after_s: int) -> TooManyRequests:
        """Return the error for a quota that is used up."""
        return TooManyRequests(
            f"{self.whose} has reached its limit {name} = {self.limits[name]}", limit=name, retry_after_s=retry_after_s
        )


def parsed(texts: Iterable[str]) -> dict[str, int]:
    """Return the quotas that texts of the form ``name=number`` set; raise `BadRequest` for one that is none."""
    limits = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in NAMES:
            raise BadRequest(f"{name!r} is no limit: {', '.join(NAMES)} are")
        if not (value.isascii() and value.isdecimal() and 1 <= int(value[:10]) <= NAMES[name]):
            raise BadRequest(f"{text!r}: {name} is a whole number from 1 to {NAMES[name]}")
        limits[name] = int(value)
    return limits


def limit_namespace(stores: "Stores", namespace: str, limits: Limits) -> None:
    """Set the quotas of a namespace, or of each whose name begins so (``shop-*``); no limits take them back.

    Raises `BadRequest` for what names no namespace, and when too many have quotas.
    """
    api_keys.check_pattern(namespace)
    known = {name: each for name, each in stores.api_keys.namespace_limits().items() if name != namespace}
    known |= {namespace: limits} if limits else {}
    if len(known) > MOST_NAMESPACES:
        raise BadRequest(
            f"{MOST_NAMESPACES} namespaces have limits already: give some a common prefix with * behind it"
        )
    stores.api_keys.save_namespace_limits(known)


def of_key(key: ApiKeyRecord) -> list[Meter]:
    """Return the meter of a key, if it has quotas."""
    return [Meter(f"key#{api_keys.usage_id_of(key)}", "this API key", key.limits)] if key.limits else []


def of_namespace(stores: "Stores", namespace: str) -> list[Meter]:
    """Return the meter of a namespace, if it has quotas: its own, or those of the longest prefix that it begins with.

    Use of it counts, so that whose key does not reach the namespace must be refused before.
    """
    fitting = [name for name in stores.namespace_limits if api_keys.is_within([name], namespace)]
    if not fitting:
        return []
    closest = max(fitting, key=lambda name: (name == namespace, len(name)))
    return [Meter(f"namespace#{namespace}", f"the namespace {namespace!r}", stores.namespace_limits[closest])]


def count_request(stores: "Stores", meters: Sequence[Meter]) -> None:
    """Take a request from the rate of each meter that has one; raise `TooManyRequests` when there is none to take.

    One conditional write for each rate. A process that was refused asks again only when there may be one.
    """
    for meter in meters:
        if rate := meter.limits.get(REQUESTS_PER_SECOND):
            now_ms = stores.clock.now_ms()
            if stores.refused_until_ms.get(meter.scope, 0) > now_ms:
                raise meter.refusal(REQUESTS_PER_SECOND, 1)
            wait_us = stores.usages.pay(meter.scope, interval_us=1_000_000 // rate, ahead_us=1_000_000)
            if wait_us:
                if len(stores.refused_until_ms) >= _REMEMBERED:
                    stores.refused_until_ms.clear()
                stores.refused_until_ms[meter.scope] = now_ms + wait_us // 1000
                raise meter.refusal(REQUESTS_PER_SECOND, math.ceil(wait_us / 1_000_000))


@contextmanager
def admitted(
    stores: "Stores", meters: Sequence[Meter], namespace: str, session_id: str, *, agents: int, runs: bool
) -> Iterator[list[str]]:
    """Take a session from the quotas of each meter for as long as it is open, and give it back if it is not created.

    Yields the scopes that it is taken from, which its record must name. Raises `TooManyRequests` before anything of the
    session is written.
    """
    now_ms = stores.clock.now_ms()
    opening = Opening(namespace, agents, now_ms, now_ms if runs else None)
    taken: list[str] = []
    try:
        for meter in meters:
            if not _OF_CREATIONS.isdisjoint(meter.limits):
                _take(stores, meter, session_id, opening)
                taken.append(meter.scope)
        yield taken
    except AtollError:  # after any other error it may be there; what is open is compared with what there is
        give_back(stores, taken, session_id)
        raise


def give_back(stores: "Stores", scopes: Iterable[str], session_id: str) -> None:
    """Give a session back that was taken and not created."""
    for scope in scopes:
        stores.usages.change(scope, lambda usage: _without(usage, [session_id]))


def settle(stores: "Stores", session: SessionRecord) -> None:
    """Take a session that has ended from what is open, and count how long its agents ran; once only."""
    for scope in session.metered_by or ():
        ran = {session.session_id: _run_of(stores, session)}
        stores.usages.change(scope, lambda usage, ran=ran: _settled(usage, ran, stores.clock.now_ms()))  # type: ignore[misc]


def _run_of(stores: "Stores", session: SessionRecord) -> tuple[int, int] | None:
    """Return from when until when the agents of a session ran (epoch ms)."""
    if session.executed_at_ms is None:
        return None
    return session.executed_at_ms, session.closing_at_ms or stores.clock.now_ms()


def _take(stores: "Stores", meter: Meter, session_id: str, opening: Opening) -> None:
    def admitting(usage: Usage) -> Usage:
        return admit(usage, meter, session_id, opening, stores.clock.now_ms())

    try:
        stores.usages.change(meter.scope, admitting)
    except TooManyRequests as refused:
        if refused.limit == CREATIONS_PER_MINUTE or not _compare(stores, meter.scope):
            raise
        stores.usages.change(meter.scope, admitting)


def admit(usage: Usage, meter: Meter, session_id: str, opening: Opening, now_ms: int) -> Usage:
    """Return the usage with one more session open; raise `TooManyRequests` for the first quota that it exceeds."""
    if session_id in usage.openings:  # the answer to writing it was lost
        return usage
    limits = meter.limits
    if len(usage.openings) >= limits.get(SESSIONS, NAMES[SESSIONS]):
        raise Meter(meter.scope, meter.whose, {SESSIONS: NAMES[SESSIONS], **limits}).refusal(SESSIONS, _WHEN_ONE_ENDS_S)
    if AGENTS in limits and opening.agents + sum(each.agents for each in usage.openings.values()) > limits[AGENTS]:
        raise meter.refusal(AGENTS, _WHEN_ONE_ENDS_S)
    if AGENT_HOURS_PER_DAY in limits and agent_ms_today(usage, now_ms) >= limits[AGENT_HOURS_PER_DAY] * HOUR_MS:
        raise meter.refusal(AGENT_HOURS_PER_DAY, math.ceil((DAY_MS - now_ms % DAY_MS) / 1000))
    paid_until_us = usage.paid_until_us
    if rate := limits.get(CREATIONS_PER_MINUTE):
        interval_us = 60_000_000 // rate
        paid_until_us = max(paid_until_us, now_ms * 1000) + interval_us
        if (wait_us := paid_until_us - (now_ms * 1000 + 60_000_000)) > 0:
            raise meter.refusal(CREATIONS_PER_MINUTE, math.ceil(wait_us / 1_000_000))
    openings = {**usage.openings, session_id: opening}
    return dataclasses.replace(usage, openings=openings, paid_until_us=paid_until_us)


def agent_ms_today(usage: Usage, now_ms: int) -> int:
    """Return for how long agents have run today (UTC), each for itself, those of open sessions until now."""
    begins_ms = now_ms - now_ms % DAY_MS
    running = (each for each in usage.openings.values() if each.since_ms is not None)
    used_ms = usage.used_ms if usage.day == now_ms // DAY_MS else 0
    return used_ms + sum(each.agents * (now_ms - max(each.since_ms or 0, begins_ms)) for each in running)


def _compare(stores: "Stores", scope: str) -> bool:
    """Compare what is open with the sessions that there are; ``False`` when that was done a moment ago.

    It makes up for creations that were cut off, and for ends whose reaction is still to come.
    """
    now_ms = stores.clock.now_ms()
    looked: dict[str, SessionRecord | None] = {}

    def compared(usage: Usage) -> Usage:
        if now_ms - usage.compared_at_ms < COMPARE_EVERY_MS:
            return usage
        unknown = [(each.namespace, name) for name, each in usage.openings.items() if name not in looked]
        found = stores.reads.sessions(unknown) if unknown else []
        looked.update({name: session for (_, name), session in zip(unknown, found, strict=True)})
        return dataclasses.replace(_in_accord(stores, usage, looked, now_ms), compared_at_ms=now_ms)

    return stores.usages.change(scope, compared).compared_at_ms == now_ms


def _in_accord(stores: "Stores", usage: Usage, found: Mapping[str, SessionRecord | None], now_ms: int) -> Usage:
    ended: dict[str, tuple[int, int] | None] = {}
    openings = dict(usage.openings)
    for name, opening in usage.openings.items():
        session = found.get(name)
        if session is None:
            if now_ms - opening.taken_at_ms > CREATION_MS:
                ended[name] = None if opening.since_ms is None else (opening.since_ms, now_ms)
        elif session.status == "closing":
            ended[name] = _run_of(stores, session)
        else:
            openings[name] = dataclasses.replace(opening, since_ms=session.executed_at_ms)
    return _settled(dataclasses.replace(usage, openings=openings), ended, now_ms)


def _settled(usage: Usage, ended: Mapping[str, tuple[int, int] | None], now_ms: int) -> Usage:
    """Return the usage without sessions that have ended; of each, from when until when its agents ran."""
    today = now_ms // DAY_MS
    used_ms = usage.used_ms if usage.day == today else 0
    for name, run in ended.items():
        if name in usage.openings and run is not None:
            used_ms += usage.openings[name].agents * max(0, run[1] - max(run[0], today * DAY_MS))
    without = _without(usage, ended)
    return usage if without is usage else dataclasses.replace(without, day=today, used_ms=used_ms)


def _without(usage: Usage, session_ids: Iterable[str]) -> Usage:
    openings = {name: each for name, each in usage.openings.items() if name not in set(session_ids)}
    return usage if len(openings) == len(usage.openings) else dataclasses.replace(usage, openings=openings)
