"""Sessions as Atoll's own clients follow them: by a socket where one is to be had, else by asking; without a gap."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from atoll import AsyncClient
from atoll import Client as OurClient
from atoll.flows import speaker_of
from infra.local.stack import LocalStack
from tests.client import Client, eventually, session, sleeper
from tests.integration.api.test_pages import deferred, talk
from tests.integration.live.between import FORBIDDEN, Between
from tests.integration.live.conftest import Connect, session_of

pytestmark = pytest.mark.xdist_group("live")

#: What is followed with a client: all pages' cursors and entries.
Pages = list[Any]


def sync(url: str, key: str, what: str, where: tuple[str, str], found: Pages) -> None:
    with OurClient(url, key) as client:
        for page in getattr(client, what)(*where):
            found.append(page)


def asynchronous(url: str, key: str, what: str, where: tuple[str, str], found: Pages) -> None:
    async def go() -> None:
        async with AsyncClient(url, key) as client:
            async for page in getattr(client, what)(*where):
                found.append(page)

    asyncio.run(go())


both = pytest.mark.parametrize("run", [sync, asynchronous])
Run = Callable[[str, str, str, tuple[str, str], Pages], None]


@pytest.fixture
def between(stack: LocalStack) -> Iterator[Between]:
    with Between(stack.url) as found:
        yield found


def following(run: Run, url: str, key: str, path: str, what: str = "follow") -> tuple[threading.Thread, Pages]:
    namespace, session_id = path.rsplit("/", 2)[1:]
    found: Pages = []
    thread = threading.Thread(target=run, args=(url, key, what, (namespace, session_id), found), daemon=True)
    thread.start()
    return thread, found


def has(found: Pages, messages: int) -> bool:
    return len(texts(found)) >= messages


def texts(found: Pages) -> list[str]:
    return [event.message.text for page in found for event in page.entries if event.type == "thread_message_sent"]


@both
def test_what_is_said_while_sockets_break_is_there_once(
    client: Client, stack: LocalStack, between: Between, namespace: str, run: Run
) -> None:
    path = deferred(client, namespace, "a", "b")
    thread, found = following(run, between.url, stack.key, path)
    said = [f"{number}" for number in range(12)]
    for number in range(0, 12, 4):
        eventually(lambda: between.is_followed)
        talk(client, path, *said[number : number + 2])
        eventually(partial(has, found, number + 1))
        between.cut()
        talk(client, path, *said[number + 2 : number + 4])
    eventually(lambda: len(texts(found)) == 12)
    assert client.call("DELETE", path).status == 200
    thread.join(30)
    assert not thread.is_alive()
    assert texts(found) == said
    cursors = [int(page.cursor) for page in found]
    assert cursors == sorted(set(cursors))
    # Each cut makes one more; the end of the session may make one.
    assert 3 <= len(between.upgrades) <= 6
    assert all(stack.key not in target.split("/") for target in between.upgrades), "the key is in no path"


@both
def test_where_sockets_are_refused_the_server_is_asked(
    client: Client, stack: LocalStack, between: Between, namespace: str, run: Run
) -> None:
    between.refusal = FORBIDDEN
    path = deferred(client, namespace, "a", "b")
    thread, found = following(run, between.url, stack.key, path)
    for number, text in enumerate(("one", "two")):
        talk(client, path, text)
        eventually(partial(has, found, number + 1))
    assert client.call("DELETE", path).status == 200
    thread.join(30)
    assert texts(found) == ["one", "two"]
    assert len(between.upgrades) == 1


def test_a_server_that_hangs_up_is_not_pressed(
    client: Client, stack: LocalStack, between: Between, namespace: str
) -> None:
    between.refusal = b""
    path = deferred(client, namespace, "a", "b")
    thread, found = following(sync, between.url, stack.key, path)
    for number in range(4):
        talk(client, path, str(number))
        eventually(partial(has, found, number + 1))
    assert client.call("DELETE", path).status == 200
    thread.join(30)
    assert texts(found) == ["0", "1", "2", "3"]
    assert len(between.upgrades) <= 4


@both
def test_lines_are_followed_by_a_socket_too(
    client: Client, stack: LocalStack, between: Between, namespace: str, run: Run
) -> None:
    path = client.create(session(sleeper("a"), sleeper("b"), namespace=namespace))
    thread, found = following(run, between.url, stack.key, path, "follow_logs")
    eventually(lambda: between.is_followed)
    assert between.upgrades[0].startswith("/ws/v1/logs?namespaceFilter=")
    eventually(lambda: ("b", "agent started") in lines(found))
    assert client.call("DELETE", path).status == 200
    thread.join(30)
    assert not thread.is_alive()
    assert {name for name, text in lines(found) if text.startswith("agent stopped")} == {"a", "b"}
    assert len(lines(found)) == len(set(lines(found)))


def lines(found: Pages) -> list[tuple[str, str]]:
    return [(speaker_of(event), event.text) for page in found for event in page.entries]


@pytest.mark.parametrize(
    ("header", "status"), [("Bearer wrong", 401), ("Bearer narrow", 403), ("Basic dev", 401), ("Bearer dev", None)]
)
def test_a_key_may_be_a_bearer_token(
    client: Client, follow: Connect, namespace: str, header: str, status: int | None
) -> None:
    path = deferred(client, namespace, "a", "b")
    headers = {"additional_headers": {"Authorization": header}}
    if status is None:
        socket = follow(session_of(path), None, **headers)
        talk(client, path, "hello")
        assert socket.next()["type"] == "thread_created"
        return
    with pytest.raises(InvalidStatus) as refused:
        follow(session_of(path), None, **headers)
    assert refused.value.response.status_code == status
