"""Coral's socket of session events, and what Atoll adds to it: cursors."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from socket import AF_INET, SO_RCVBUF, SOCK_STREAM, SOL_SOCKET
from socket import socket as Socket
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus

from chalicelib.store.followers import SessionFollowers
from chalicelib.store.log import SESSION_CLOSING
from infra.local.api_gateway import sockets
from infra.local.stack import LocalStack
from tests.client import Client, eventually, session, sleeper
from tests.integration.api.test_pages import deferred, talk
from tests.integration.api.test_sign_in import Browser
from tests.integration.live.conftest import Connect, session_of

pytestmark = pytest.mark.xdist_group("live")


def events(client: Client, path: str) -> list[dict[str, Any]]:
    """Return all events of a session, as its listing has them."""
    return list(client.call("GET", f"{path}/events").body)


def reads_little(stack: LocalStack) -> Socket:
    """Return a connection to a stack whose side here buffers little."""
    found = Socket(AF_INET, SOCK_STREAM)
    found.setsockopt(SOL_SOCKET, SO_RCVBUF, 64 * 1024)
    address = urlsplit(stack.url)
    found.connect((address.hostname, address.port))
    return found


def texts(found: list[dict[str, Any]]) -> list[str]:
    return [event["message"]["text"] for event in found if event["type"] == "thread_message_sent"]


@contextmanager
def held_back(stack: LocalStack) -> Iterator[None]:
    """Hold back what the stream of session items carries until the end of the block."""
    [pump] = stack.pumps["atoll-local-session-items"]
    records: list[dict[str, Any]] = []
    put = pump.put

    def keep(record: dict[str, Any]) -> None:
        records.append(record)

    pump.put = keep  # type: ignore[method-assign]
    try:
        yield
    finally:
        for record in records:
            put(record)
        del pump.put


def is_gone(stack: LocalStack, path: str) -> bool:
    """Return whether nothing is left of a session but what ends its waits: the head of its log, and that entry."""
    found = stack.services.client("dynamodb").query(
        TableName="atoll-local-session-items",
        KeyConditionExpression="sessionId = :session",
        ExpressionAttributeValues={":session": {"S": path.rsplit("/", 1)[1]}},
    )
    left = [item for item in found["Items"] if item.get("id", {}).get("S") != SESSION_CLOSING]
    return {item["item"]["S"] for item in left} <= {"HEAD"}


def test_what_happens_is_pushed_as_it_happens(client: Client, follow: Connect, namespace: str) -> None:
    path = deferred(client, namespace, "a", "b")
    socket = follow(session_of(path))
    talk(client, path, "hello")

    created, sent = socket.next(), socket.next()

    assert [created, sent] == events(client, path)
    assert next(iter(created)) == "type"
    assert (created["type"], sent["message"]["text"]) == ("thread_created", "hello")


def test_a_whole_session_is_followed_to_its_removal(client: Client, follow: Connect, namespace: str) -> None:
    path = deferred(client, namespace, "a", "b")
    socket = follow(session_of(path))
    hold = {"mode": "hold_after_exit", "duration": 1_000}
    assert client.call("POST", path, {"persistenceMode": hold}).status == 200
    socket.until("runtime_started")
    thread = talk(client, path, "hello")
    puppet = path.replace("/local/session/", "/puppet/") + "/a/thread"
    assert client.call("DELETE", puppet, {"threadId": thread, "summary": "done"}).status == 200
    before = socket.until("thread_closed")
    began = time.monotonic()
    assert client.call("DELETE", path).status == 200

    after, code = socket.rest()

    assert code == 1000
    assert time.monotonic() - began >= 1  # not before the end of the hold
    kinds = [event["type"] for event in before + after]
    for kind in ("thread_created", "thread_message_sent", "thread_closed"):
        assert kinds.count(kind) == 1
    assert sorted(event["name"] for event in after if event["type"] == "runtime_stopped") == ["a", "b"]


@pytest.mark.parametrize("executed", [True, False], ids=["executed", "deferred"])
def test_who_follows_gets_all_of_a_session_that_is_gone_before_its_entries_were_pushed(
    client: Client, stack: LocalStack, follow: Connect, namespace: str, *, executed: bool
) -> None:
    path = deferred(client, namespace, "a", "b")
    if executed:
        assert client.call("POST", path, {}).status == 200
    early = follow(session_of(path))
    talk(client, path, "first")
    early.until("thread_message_sent")
    with held_back(stack):
        late = follow(f"{session_of(path)}?after=0")
        talk(client, path, "second", "last")
        assert client.call("DELETE", path).status == 200
        client.wait_for_status(path, None)

    (new, code), (whole, late_code) = early.rest(), late.rest()

    assert (texts(new), code) == (["second", "last"], 1000)
    assert (texts(whole), late_code) == (["first", "second", "last"], 1000)
    if executed:
        assert [event["name"] for event in new if event["type"] == "runtime_stopped"] == ["a", "b"]
    eventually(lambda: is_gone(stack, path))


@pytest.mark.parametrize("pending", [True, False])
def test_who_comes_while_a_session_is_being_removed_is_told_that_it_is_gone(
    client: Client,
    stack: LocalStack,
    follow: Connect,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    *,
    pending: bool,
) -> None:
    """It was there when it was looked for; its removal has looked for followers before this one was noted."""
    path = deferred(client, namespace, "a")
    session_id = path.rsplit("/", 1)[1]
    followers, add = stack.services.session_followers, SessionFollowers.add

    def too_late(*args: Any) -> None:
        if pending:
            stack.services.sessions.remove(namespace, session_id, status="pending_execution")
        else:
            stack.services.session_items.close_log(session_id, namespace)
        add(*args)

    monkeypatch.setattr(SessionFollowers, "add", too_late)
    with pytest.raises(InvalidStatus) as refused:
        follow(session_of(path))
    assert refused.value.response.status_code == 404
    assert not followers.of_session(session_id).followers


def test_who_begins_late_has_nothing_read_that_is_before_its_beginning(
    client: Client, stack: LocalStack, follow: Connect, namespace: str
) -> None:
    path = deferred(client, namespace, "a")
    talk(client, path, "one", "two")
    follow(session_of(path))
    followed = partial(stack.services.session_followers.of_session, path.rsplit("/", 1)[1])
    eventually(lambda: followed().caught_up)
    assert followed().first_unpushed == followed().position + 1 == 4


def test_nothing_is_replayed_unless_it_is_asked_for(client: Client, follow: Connect, namespace: str) -> None:
    path = deferred(client, namespace, "a")
    talk(client, path, "before")
    socket = follow(session_of(path))
    talk(client, path, "after")

    assert socket.next()["type"] == "thread_created"
    assert socket.next()["message"]["text"] == "after"


def test_a_cursor_is_where_a_follower_goes_on(client: Client, follow: Connect, namespace: str) -> None:
    path = deferred(client, namespace, "a")
    talk(client, path, "one", "two", "three")
    answer = client.call("GET", f"{path}/events?limit=2")

    socket = follow(f"{session_of(path)}?after={answer.headers['Next-Cursor']}")
    talk(client, path, "four")
    found = [socket.next() for _ in range(4)]

    cursors = [event.pop("cursor") for event in found]
    assert found == events(client, path)[2:]
    assert cursors == sorted(set(cursors), key=int)
    again = follow(f"{session_of(path)}?after={cursors[1]}")
    assert [again.next()["cursor"] for _ in range(2)] == cursors[2:]


@pytest.mark.parametrize("after", ["-1", "x", "7", "%C2%B2", ""])
def test_a_cursor_that_is_none_is_refused(client: Client, follow: Connect, namespace: str, after: str) -> None:
    path = deferred(client, namespace, "a")
    with pytest.raises(InvalidStatus) as refused:
        follow(f"{session_of(path)}?after={after}")
    assert refused.value.response.status_code == 400
    assert b"after" in (refused.value.response.body or b"")


def test_who_was_away_for_too_long_reads_pages_first(
    client: Client, follow: Connect, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.domain.following.MOST_REPLAYED", 2)
    path = deferred(client, namespace, "a")
    talk(client, path, "one", "two")
    with pytest.raises(InvalidStatus) as refused:
        follow(f"{session_of(path)}?after=0")
    assert refused.value.response.status_code == 400
    assert b"/events" in (refused.value.response.body or b"")


def test_all_followers_see_one_order_while_many_write(client: Client, follow: Connect, namespace: str) -> None:
    path = deferred(client, namespace, "a")
    followers = [follow(session_of(path)) for _ in range(4)]
    followers.append(follow(f"{session_of(path)}?after=0"))
    writers = [
        threading.Thread(target=talk, args=(client, path, *(f"{name} {number}" for number in range(20))))
        for name in "pqrs"
    ]
    for writer in writers:
        writer.start()
    found = [[follower.next() for _ in range(84)] for follower in followers]
    for writer in writers:
        writer.join()

    for event in found[-1]:
        del event["cursor"]
    whole = events(client, path)
    assert len(texts(whole)) == 80
    assert all(each == whole for each in found)


def test_an_entry_that_comes_late_is_not_pushed_late(
    client: Client, stack: LocalStack, follow: Connect, namespace: str
) -> None:
    """Its position was closed when what is behind it was pushed, so its writer draws another one."""
    path = deferred(client, namespace, "a")
    socket = follow(session_of(path))
    session_id, log = path.rsplit("/", 1)[1], stack.services.log
    late = log.draw(session_id, expires_at=1 << 40)
    talk(client, path, "behind it")
    assert [socket.next()["type"] for _ in range(2)] == ["thread_created", "thread_message_sent"]

    stopped = {"type": "runtime_stopped", "name": "a", "timestamp": "2026-01-01T00:00:00.000Z"}
    log.append(session_id, lambda _: stopped, expires_at=1 << 40, ticket=late)

    assert socket.next() == stopped
    assert [event["type"] for event in events(client, path)][-1] == "runtime_stopped"


def test_a_record_that_comes_twice_is_pushed_once(
    client: Client, stack: LocalStack, follow: Connect, namespace: str
) -> None:
    path = deferred(client, namespace, "a")
    socket = follow(session_of(path))
    [pump] = stack.pumps["atoll-local-session-items"]
    records: list[dict[str, Any]] = []
    put = pump.put

    def twice(record: dict[str, Any]) -> None:
        records.append(record)
        put(record)
        put(record)

    pump.put = twice  # type: ignore[method-assign]
    try:
        talk(client, path, "one", "two", "three")
        eventually(lambda: len(records) == 4)
    finally:
        del pump.put
    talk(client, path, "last")

    assert [socket.next()["type"] for _ in range(6)] == [event["type"] for event in events(client, path)]


def test_what_a_client_sends_is_ignored(client: Client, follow: Connect, namespace: str) -> None:
    path = deferred(client, namespace, "a")
    socket = follow(session_of(path))
    socket.connection.send("hello")
    socket.connection.send(b"\x00")
    talk(client, path)
    assert socket.next()["type"] == "thread_created"


def test_a_slow_reader_is_cut_off_and_comes_back_by_its_cursor(
    client: Client, stack: LocalStack, follow: Connect, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MOST_WAITING_BYTES", 1_000_000)
    path = deferred(client, namespace, "a")
    slow = follow(f"{session_of(path)}?after=0", max_queue=1, sock=reads_little(stack))
    quick = follow(session_of(path))
    whole = []
    for _ in range(30):  # more than the kernel's buffers hold beside that
        talk(client, path, "x" * 250_000)
        whole += [quick.next(), quick.next()]  # it is not held up by the other one

    found, code = slow.rest()

    assert code == 1013
    assert len(found) < 60
    monkeypatch.undo()
    again = follow(f"{session_of(path)}?after={found[-1]['cursor'] if found else 0}")
    found += [again.next() for _ in range(60 - len(found))]
    for event in found:
        del event["cursor"]
    assert found == whole


def test_who_is_gone_is_forgotten(client: Client, stack: LocalStack, follow: Connect, namespace: str) -> None:
    path = deferred(client, namespace, "a")
    follow(session_of(path)).connection.close()
    stays = follow(session_of(path))
    talk(client, path)
    assert stays.next()["type"] == "thread_created"
    followed = stack.services.session_followers.of_session(path.rsplit("/", 1)[1])
    assert len(followed.followers) == 1


def test_as_many_follow_a_session_as_may(
    client: Client, follow: Connect, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chalicelib.store.followers.MOST_FOLLOWERS", 2)
    path = deferred(client, namespace, "a")
    for _ in range(2):
        follow(session_of(path))
    with pytest.raises(InvalidStatus) as refused:
        follow(session_of(path))
    assert refused.value.response.status_code == 503


@pytest.mark.parametrize(
    ("what", "key", "status", "message"),
    [
        ("session/{namespace}/{id}", "wrong", 401, "Invalid token"),
        ("session/{namespace}/{id}", None, 401, "Unauthorized"),
        ("session/{namespace}/{id}", "narrow", 403, "reach"),
        ("session/{namespace}/elsewhere", "dev", 404, "elsewhere"),
        ("session/elsewhere/{id}", "dev", 404, "elsewhere"),
    ],
)
def test_who_may_not_follow_is_refused_before_the_upgrade(
    client: Client, follow: Connect, namespace: str, *, what: str, key: str | None, status: int, message: str
) -> None:
    path = deferred(client, namespace, "a")
    with pytest.raises(InvalidStatus) as refused:
        follow(what.format(namespace=namespace, id=path.rsplit("/", 1)[1]), key)
    response = refused.value.response
    assert response.status_code == status
    assert message in json.loads(response.body or b"")["message"]


def test_a_cookie_opens_a_socket(client: Client, stack: LocalStack, follow: Connect, namespace: str) -> None:
    """Coral's AuthApiTest.testAuthWebSocket: without a cookie 401, with one the session is looked for."""
    path = deferred(client, namespace, "a")
    cookie = {"Cookie": Browser(stack).signs_in()}
    with pytest.raises(InvalidStatus) as refused:
        follow("session/test/test", None, additional_headers=cookie)
    assert refused.value.response.status_code == 404

    socket = follow(session_of(path), None, additional_headers=cookie)
    talk(client, path)
    assert socket.next()["type"] == "thread_created"


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://evil.test", "null"])
@pytest.mark.parametrize("key", [None, "dev"], ids=["cookie", "key"])
def test_a_page_of_another_origin_opens_no_socket(
    stack: LocalStack, follow: Connect, origin: str, key: str | None
) -> None:
    """Neither with the cookie nor with the key that everybody knows: no browser asks first, as it does for the rest."""
    cookie = {} if key else {"Cookie": Browser(stack).signs_in()}
    with pytest.raises(InvalidStatus) as refused:
        follow("lsm", key, additional_headers=cookie, origin=origin)
    assert refused.value.response.status_code == 403
    follow("lsm", key, additional_headers=cookie, origin=stack.url)


def test_pages_of_configured_origins_open_sockets_with_a_key(
    stack: LocalStack, follow: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = "https://console.test"
    monkeypatch.setattr(stack.services, "settings", stack.services.settings.model_copy(update={"cors_origins": page}))
    follow("lsm", origin=page)
    with pytest.raises(InvalidStatus) as refused:
        follow("lsm", None, additional_headers={"Cookie": Browser(stack).signs_in()}, origin=page)
    assert refused.value.response.status_code == 403


def test_names_that_need_encoding_are_found(client: Client, follow: Connect) -> None:
    path = client.create(session(sleeper(), namespace="team 😀", defer=True)).replace("team 😀", "team%20%F0%9F%98%80")
    socket = follow(session_of(path))
    talk(client, path)
    assert socket.next()["type"] == "thread_created"
