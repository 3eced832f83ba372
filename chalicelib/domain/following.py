"""Following what happens: who may follow what, from where on, and which events of it."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chalicelib.domain import api_keys, roles, sessions
from chalicelib.domain.errors import BadRequest, NotFound, TryLater
from chalicelib.store.api_keys import ApiKeyRecord
from chalicelib.store.followers import MOST_FOLLOWERS, SessionFollower, Topic
from chalicelib.wire import base64url, strict_json
from chalicelib.wire.logs import LogFilter, LoggingEvent, NamespaceTag

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: How far behind the end of a session's log a follower may begin: what is before that is read page by page.
MOST_REPLAYED = 10_000

#: How many of the latest lines of a log come first, unless it is said (Coral's default).
DEFAULT_LINES = 1_024


def session(
    stores: "Stores", caller: ApiKeyRecord, connection_id: str, where: tuple[str, str], *, after: str | None
) -> None:
    """Let a connection follow a session (namespace and id) from now on, or from behind a cursor of its events.

    Raises `NotFound`, for a session that is being removed too, `Forbidden`, `BadRequest` for a cursor that is none or
    too far back, `TryLater` when the session has as many followers as it may have.
    """
    namespace, session_id = where
    api_keys.check_reach(caller, namespace)
    _, record = sessions.read(stores, namespace, session_id)
    if stores.session_followers.is_full(session_id):
        raise TryLater(f"{MOST_FOLLOWERS} connections follow the session {session_id!r} already")
    head = stores.log.head(session_id)
    end = head.position if head else 0
    position = end if after is None else _position(after, end)
    pending = record.status == "pending_execution"  # it may outlive its record's present end
    expires_at = sessions.longest_life_s(stores, stores.clock.now_ms(), None) if pending else record.expires_at
    stores.session_followers.add(
        session_id, SessionFollower(connection_id, position, cursors=after is not None, expires_at=expires_at)
    )
    # Who removes a session says so and then looks for followers, so one of the two sees the other.
    if stores.reads.is_being_removed(namespace, session_id):
        stores.session_followers.remove(session_id, connection_id)
        raise NotFound.of_session(namespace, session_id)


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
    _follow_topic(stores, "manager", connection_id, wanted)


def _annotations(text: str) -> dict[str, str]:
    try:
        found = strict_json.loads(base64url.decoded(text))
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise BadRequest("namespaceAnnotationFilters: not a JSON object of text in base64url")
    return found


def logs(stores: "Stores", caller: ApiKeyRecord, connection_id: str, asked: Mapping[str, str]) -> None:
    """Let a connection follow the lines of the log; on one machine the latest that there are come first.

    ``asked`` is as in Coral: ``namespaceFilter``, ``sessionFilter``, ``agentFilter``, of which all that are given must
    hold, ``allowSensitive``, and ``limit``, how many of the latest lines come first.

    Raises `BadRequest` for another value, `Forbidden` for sensitive lines to a key that only reads, `TryLater` when as
    many connections follow as may.
    """
    wanted: dict[str, Any] = {"reach": list(caller.namespaces), "limit": DEFAULT_LINES}
    for name in ("namespace", "session", "agent"):
        if f"{name}Filter" in asked:
            wanted[name] = asked[f"{name}Filter"]
    if "limit" in asked:
        if not re.fullmatch("[0-9]{1,9}", asked["limit"]):
            raise BadRequest(f"limit: {asked['limit'][:20]!r} is no number of lines")
        wanted["limit"] = int(asked["limit"])
    sensitive = asked.get("allowSensitive", "false").lower()
    if sensitive not in ("true", "false"):
        raise BadRequest(f"allowSensitive: {sensitive[:20]!r} is neither true nor false")
    wanted["allowSensitive"] = sensitive == "true"
    if wanted["allowSensitive"]:
        roles.check(caller, roles.OPERATORS, "allowSensitive")
    _follow_topic(stores, "logs", connection_id, wanted)


def _follow_topic(stores: "Stores", topic: Topic, connection_id: str, wanted: Mapping[str, Any]) -> None:
    if len(stores.followers.of_topic(topic)) >= MOST_FOLLOWERS:
        raise TryLater(f"{MOST_FOLLOWERS} connections follow the {topic} events already")
    expires_at = stores.clock.now_ms() // 1000 + stores.settings.longest_socket_s
    stores.followers.add(topic, connection_id, wanted, expires_at=expires_at)


def wants(wanted: Mapping[str, Any], namespace_state: Mapping[str, Any]) -> bool:
    """Return whether a follower of the manager's events is to get one of this namespace (a wire state)."""
    name = namespace_state["name"]
    return (
        api_keys.is_within(wanted["reach"], name)
        and wanted.get("namespace", name) == name
        and wanted.get("annotations", {}).items() <= namespace_state["annotations"].items()
    )


def log_filter(wanted: Mapping[str, Any]) -> LogFilter:
    """Return which lines a follower of the log has asked for."""
    given = {name: wanted[name] for name in ("namespace", "session", "agent") if name in wanted}
    return LogFilter(**given, allow_sensitive=wanted["allowSensitive"])


def reaches_line(wanted: Mapping[str, Any], line: LoggingEvent) -> bool:
    """Return whether a follower's key may see a line; one about no namespace is for those that reach all."""
    namespaces = [tag.namespace for tag in line.tags if isinstance(tag, NamespaceTag)]
    reach = wanted["reach"]
    return all(api_keys.is_within(reach, name) for name in namespaces) if namespaces else "*" in reach
