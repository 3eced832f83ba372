"""Creates and deletes namespaces, also those that are to be deleted with their last session.

No counter and no lock keeps a namespace: whether it still has sessions is one consistent Query. Deleting marks it
``deleting`` first and looks for sessions afterwards; creating a session writes its record first and looks at the
namespace afterwards. Whichever comes first, one of the two sees the other.
"""

import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from chalicelib.domain import api_keys
from chalicelib.domain.errors import BadRequest, NotFound, TryLater
from chalicelib.store.api_keys import ApiKeyRecord
from chalicelib.store.items import BATCH_GET_ITEMS
from chalicelib.store.namespaces import NamespaceRecord
from chalicelib.wire.namespaces import SessionNamespaceRequest, SessionNamespaceStateBase

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: Pause between two reads of a namespace that is being deleted.
_LOOK_EVERY_S = 0.05


def state_of(record: NamespaceRecord) -> SessionNamespaceStateBase:
    """Return a namespace as clients see it."""
    return SessionNamespaceStateBase(
        name=record.name,
        delete_on_last_session_exit=record.delete_on_last_session_exit,
        annotations=record.annotations,
    )


def find(stores: "Stores", name: str) -> NamespaceRecord:
    """Return a namespace; raise `NotFound` when it does not exist, or is being deleted by request."""
    record = stores.namespaces.find(name)
    if record is None or record.forced:
        raise NotFound.of_namespace(name)
    return record


def reached(stores: "Stores", key: ApiKeyRecord, *, start: str | None = None) -> Iterator[NamespaceRecord]:
    """Return the namespaces that an API key reaches, from behind the one named ``start`` on, in no order."""
    exact = sorted({name for name in key.namespaces if not name.endswith("*")})
    if len(exact) == len(key.namespaces) <= BATCH_GET_ITEMS:  # no need to look through those of all others
        wanted = [name for name in exact if start is None or name > start]
        found: Iterator[NamespaceRecord] = filter(None, stores.reads.namespaces(wanted) if wanted else [])
    else:
        found = stores.namespaces.all(start=start)
    return (record for record in found if api_keys.reaches(key, record.name) and not record.forced)


def record_of(stores: "Stores", request: SessionNamespaceRequest) -> NamespaceRecord:
    """Return the record that a request asks for."""
    return NamespaceRecord(
        name=request.name,
        created_at_ms=stores.clock.now_ms(),
        delete_on_last_session_exit=request.delete_on_last_session_exit,
        annotations=request.annotations,
    )


def create(stores: "Stores", request: SessionNamespaceRequest) -> None:
    """Create a namespace; raise `BadRequest` when the name is taken, `TryLater` while an old one is being deleted."""
    while not stores.namespaces.create(record_of(stores, request)):
        there = stores.namespaces.find(request.name)
        if there is not None and not there.forced:
            raise BadRequest(f"there is a namespace {request.name!r} already")
        wait_until_gone(stores, request.name)


def delete(stores: "Stores", name: str) -> None:
    """Close and remove all sessions of a namespace, then the namespace; return when they are gone.

    Hiding the namespace is the fact; the reaction to it does the rest. Raises `NotFound` for an unknown namespace, and
    `TryLater` when the deletion, which goes on, takes longer than `Settings.namespace_deletion_wait_ms`.
    """
    find(stores, name)
    if not stores.namespaces.force_deletion(name, now_ms=stores.clock.now_ms()):
        raise NotFound.of_namespace(name)
    wait_until_gone(stores, name)


def wait_until_gone(stores: "Stores", name: str) -> None:
    """Wait for a namespace that is being deleted by request; raise `TryLater` when it takes too long."""
    limit_ms = stores.settings.namespace_deletion_wait_ms
    deadline_ms = stores.clock.now_ms() + limit_ms
    while (record := stores.namespaces.find(name)) is not None and record.forced:
        if stores.clock.now_ms() >= deadline_ms:
            raise TryLater(f"the namespace {name!r} is still being deleted after {limit_ms} ms", retry_after_s=5)
        stores.clock.sleep(_LOOK_EVERY_S)


def delete_when_empty(stores: "Stores", name: str, forget: Callable[[], None] | None = None) -> None:
    """Delete a namespace that is to go with its last session, or by request, if it has no session left.

    The reaction to every session that is gone; it may run twice or late. One that is deleted by request goes after
    ``forget`` has deleted its history; who cannot do that leaves it to the reactions that can.
    """
    record = stores.namespaces.find(name)
    if record is None or not (record.forced or record.delete_on_last_session_exit):
        return
    if stores.sessions.any_in(
        name
    ):  # its removal calls this again; until then no session writes to the shared namespace item
        return
    # The newest deletion id wins: its writer looks for sessions afterwards, and an older one's conditional
    # writes fail.
    deletion = uuid.uuid4().hex
    going = stores.namespaces.start_deleting(record, deletion, now_ms=stores.clock.now_ms())
    if going is None:
        return
    if stores.sessions.any_in(name):
        stores.namespaces.stop_deleting(name, deletion)
        return
    if going.forced:  # no session is there to add to its history, and none can come
        if forget is None:
            return
        forget()
    stores.namespaces.remove(going, deletion)


def keep_for(stores: "Stores", name: str, recreate: Callable[[], NamespaceRecord] | None) -> bool:
    """Make sure that a namespace outlives a session record that was just written into it.

    ``recreate`` gives the record to create again when the namespace has gone meanwhile; without it that is the end.
    Returns ``False`` when the session is to be taken back, unless it runs already.
    """
    while True:
        record = stores.namespaces.find(name)
        if record is not None and record.forced:
            return False
        if record is not None and record.state == "active":
            return True
        if record is None and recreate is None:
            return False
        if stores.namespaces.stop_deleting(name) if record else recreate and stores.namespaces.create(recreate()):
            # Its session may have ended meanwhile, and then nothing else deletes the namespace brought back here.
            delete_when_empty(stores, name)
            return True
