"""Answers that come later: the stream of a wait ends before its answer does, and the client comes back for it.

Specification 2025-11-25, "Streamable HTTP", "Sending Messages to the Server" and "Resumability and Redelivery": a
server may end a stream after an event that has an id and no data, and says with ``retry`` when the client is to come
back, with a GET and ``Last-Event-ID``. Here the id is the wait itself, so no state is kept in between: a
waiting agent costs a short request now and then, not a function that stands there for as long.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from chalicelib.domain.actors import Actor
from chalicelib.domain.waits import Paused
from chalicelib.mcp import clients, envelope, protocol, tools
from chalicelib.wire import base64url
from chalicelib.wire.base import WireModel
from chalicelib.wire.threads import MAX_WAIT_MS
from chalicelib.wire.waits import PausedWait

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: Versions whose clients come back for an answer.
VERSIONS = ("2025-11-25",)
EVENTS = "text/event-stream"
LAST_EVENT_ID = "last-event-id"

#: Longest id of a request, and longest id of an event: API Gateway takes headers of 10,240 bytes in all.
MAX_REQUEST_ID_CHARACTERS = 256
MAX_EVENT_ID_CHARACTERS = 8_000


class _Event(WireModel):
    """What the id of an event says."""

    request_id: Annotated[str, Field(max_length=MAX_REQUEST_ID_CHARACTERS)] | int
    wait: PausedWait


def hold_ms(stores: "Stores", actor: Actor, headers: Mapping[str, str], request_id: protocol.Id) -> int | None:
    """Return how long a wait is held open for its client; ``None`` for as long as it lasts.

    It is for a client that is not known to come back, and for an agent that has another wait under way. That may
    be one that was paused, and whose client says that it comes back and does not: its next wait must not end so, too.
    """
    held_ms = _setting_ms(stores)
    if held_ms is None or clients.known(headers) is None or len(str(request_id)) > MAX_REQUEST_ID_CHARACTERS:
        return None
    may = headers.get(envelope.VERSION_HEADER) in VERSIONS and EVENTS in headers.get("accept", "").lower()
    waits = (actor.agent.waiting_until_ms or 0) > stores.clock.now_ms()
    return held_ms if may and not waits else None


def is_offered_instead(stores: "Stores", headers: Mapping[str, str]) -> bool:
    """Return whether a client that asks for a version without pauses is offered those with them, and takes one."""
    client = clients.known(headers)
    return _setting_ms(stores) is not None and client is not None and client.falls_back


def _setting_ms(stores: "Stores") -> int | None:
    """Return for how long waits are held before they are paused; ``None`` where none is."""
    held_ms = stores.settings.mcp_wait_hold_ms
    return held_ms if held_ms is not None and held_ms < MAX_WAIT_MS else None


def later(request_id: protocol.Id, paused: Paused) -> bytes:
    """Return the stream that asks a client to come back."""
    event = _Event(request_id=request_id, wait=paused.wait)
    event_id = base64url.encoded(event.model_dump_json(by_alias=True).encode())
    return _come_back(event_id, paused.rest_ms)


def _come_back(event_id: str, rest_ms: int) -> bytes:
    return f"id: {event_id}\nretry: {rest_ms}\ndata:\n\n".encode()


def again(event_id: str, rest_ms: int) -> bytes:
    """Return the stream that asks a client to come back with the same id; raise ``ValueError`` as `answer` does."""
    _read(event_id)
    return _come_back(event_id, rest_ms)


def answer(stores: "Stores", actor: Actor, event_id: str) -> bytes:
    """Return the stream that a client comes back for; raise ``ValueError`` for an id that was not given here."""
    event = _read(event_id)
    try:
        result = tools.resume(stores, actor, event.wait)
    except Paused as paused:
        return later(event.request_id, paused)
    return message(protocol.answer_of(event.request_id, result, "handshake"))


def over(event_id: str) -> bytes:
    """Return the stream that ends a wait whose agent is gone: its session has closed, or it was stopped."""
    result = tools.refused("the session is closing, or the agent was stopped")
    return message(protocol.answer_of(_read(event_id).request_id, result, "handshake"))


def message(answered: protocol.Message) -> bytes:
    """Return the stream of one message."""
    return b"event: message\ndata: " + protocol.encoded(answered) + b"\n\n"


def _read(event_id: str) -> _Event:
    try:
        if len(event_id) > MAX_EVENT_ID_CHARACTERS:
            raise ValueError
        return _Event.model_validate_json(base64url.decoded(event_id))
    except ValueError:
        raise ValueError("Last-Event-ID was not issued here") from None
