"""Ending a wait whose client does not want its answer any more.

The client says so in another request, which may reach another process than the one that holds the wait. Its entry of
the log reaches the holder with its next look, as a message does.
"""

import hashlib
import json
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from chalicelib.domain.actors import Actor
from chalicelib.store.log import WAIT_CANCELLED, Full, Sealed

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: The id that a client gave the request that waits.
RequestId = str | int | None


def new_wait_id(request_id: RequestId) -> str:
    """Return an id for a wait that begins with what its request's id makes of it."""
    return _prefix(request_id) + uuid.uuid4().hex[:16]


def cancel(stores: "Stores", actor: Actor, request_id: RequestId) -> None:
    """End the waits of an agent's request, held or paused.

    An agent that has several clients may have several requests of one id; nothing tells them apart.
    """
    prefix = _prefix(request_id)

    def cancelled_at(stamp_ms: int) -> dict[str, object]:
        return {"type": WAIT_CANCELLED, "timestamp": stamp_ms, "name": actor.name, "wait": prefix}

    # The session is over, and so are its waits; or its log is full, and they go on to their times.
    with suppress(Sealed, Full):
        stores.log.append(actor.session_id, cancelled_at, expires_at=actor.agent.expires_at)
    for wait_id in actor.agent.waits:  # nobody holds one that is paused, and its client need not come back
        if wait_id.startswith(prefix):
            stores.agents.end_wait(actor.agent, wait_id)


def _prefix(request_id: RequestId) -> str:
    return "w" + hashlib.sha256(json.dumps(request_id).encode()).hexdigest()[:16]
