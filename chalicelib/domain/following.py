"""Following what happens: who may follow what, from where on, and which events of it."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chalicelib.domain import api_keys, sessions
from chalicelib.domain.errors import BadRequest, TryLater
from chalicelib.store.api_keys import ApiKeyRecord
from chalicelib.store.followers import MOST_FOLLOWERS, SessionFollower
from chalicelib.wire import base64url

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: How far behind the end of a session's log a follower may begin: what is before that is read page by page.
MOST_REPLAYED = 10_000


def session(
    stores: "Stores", caller: ApiKeyRecord, connection_id: str, where: tuple[str, str], *, after: str | None
) -> None:
    """Let a connection follow a session (namespace and id) from now on, or from behind a cursor of its events.

    Raises `NotFound`, `Forbidden`, `BadRequest` for a cursor that is none or too far back, `TryLater` when the session
    has as many followers as it may have.
    """
    namespace, session_id = where
    api_keys.check_reach(caller, namespace)
    _, record = sessions.read(stores, namespace, session_id)
    if stores.session_followers.is_full(session_id):
        raise TryLater(f"{MOST_FOLLOWERS} connections follow the session {session_id!r} already")
    head = stores.log.head(session_id)
    end = head.position if head else 0
    follower = SessionFollower(connection_id, end if after is None else _position(after, end), after is not None)
    pending = record.status == "pending_execution"  # it may outlive its record's present end
    expires_at = sessions.longest_life_s(stores, stores.clock.now_ms(), None) if pending else record.expires_at
    stores.session_followers.add(session_id, follower, expires_at=expires_at)


def _position(after: str, end: int) -> int:
    if not after.isdecimal() or not after.isascii() or int(after) > end:
        raise BadRequest(f"after: {after[:20]!r} is not a cursor of this session's events")
    if end - int(after) > MOST_REPLAYED:
        raise BadRequest(
            f"after: {after!r} is more than {MOST_REPLAYED} entries back; read them page by page, at /events"
        )
    return int(after)


def manager(
    stores: "Stores", caller: ApiKeyRecord, connection_id: str, *, namespace: str | None, annotations: str | None
) -> None:
    """Let a connection follow sessions and namespaces as they come and go.

    ``namespace`` names the only one, ``annotations`` is a JSON object of text in base64url, each pair of which the
    namespace must have. A key that is limited to namespaces sees those only.

    Raises `BadRequest` for annotations of another form, `TryLater` when as many connections follow as may.
    """
    wanted: dict[str, Any] = {"reach": list(caller.namespaces)}
    if namespace is not None:
        wanted["namespace"] = namespace
    if annotations is not None:
        wanted["annotations"] = _annotations(annotations)
    if len(stores.followers.of_topic("manager")) >= MOST_FOLLOWERS:
        raise TryLater(f"{MOST_FOLLOWERS} connections follow the manager's events already")
    expires_at = stores.clock.now_ms() // 1000 + stores.settings.longest_socket_s
    stores.followers.add("manager", connection_id, wanted, expires_at=expires_at)


def _annotations(text: str) -> dict[str, str]:
    try:
        found = json.loads(base64url.decoded(text))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise BadRequest("namespaceAnnotationFilters: not a JSON object of text in base64url")
    return found


def wants(wanted: Mapping[str, Any], namespace_state: Mapping[str, Any]) -> bool:
    """Return whether a follower of the manager's events is to get one of this namespace (a wire state)."""
    name = namespace_state["name"]
    return (
        api_keys.is_within(wanted["reach"], name)
        and wanted.get("namespace", name) == name
        and wanted.get("annotations", {}).items() <= namespace_state["annotations"].items()
    )
