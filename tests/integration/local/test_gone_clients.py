"""Who closes the connection of a wait, or cancels it, waits no longer, as on a server that sees its clients go."""

import gc
import http.client
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from infra.local.stack import LocalStack
from tests.client import eventually
from tests.mcp_world import SESSION, World

pytestmark = pytest.mark.xdist_group("gone-clients")


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack() as running:
        yield running


@pytest.fixture(scope="module")
def there(stack: LocalStack) -> tuple[World, str]:
    """A session of three agents on a local stack, and where that serves."""
    world = World(stack.services, stack.services.secrets.get("agent-key"))
    world.session("ann", "bob", "cem")
    return world, stack.url


def begin_to_wait(world: World, url: str, name: str) -> http.client.HTTPConnection:
    """Ask for a wait of the longest, and return the connection when the agent is seen waiting."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    params = {"name": "coral_wait_for_message", "arguments": {}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    connection.request("POST", f"/mcp/v1/{world.secret(name)}/mcp", body, {"Content-Type": "application/json"})
    eventually(lambda: world.communication(name) == "waiting_message", 20)
    return connection


def test_a_wait_ends_when_its_connection_is_closed(there: tuple[World, str]) -> None:
    world, url = there
    begin_to_wait(world, url, "bob").close()
    eventually(lambda: world.communication("bob") == "thinking", 10)
    told = [entry.event["type"] for entry in world.services.log.read(SESSION)]
    assert [kind for kind in told if kind.startswith("agent_wait")] == ["agent_wait_start"]


def test_nothing_is_kept_of_a_wait_whose_connection_is_closed(there: tuple[World, str], stack: LocalStack) -> None:
    world, url = there
    gc.collect()
    gc.disable()
    try:
        connection = begin_to_wait(world, url, "bob")
        assert len(stack.watches) == 1
        connection.close()
        eventually(lambda: len(stack.watches) == 0, 10)
    finally:
        gc.enable()


def test_a_wait_ends_when_its_request_is_cancelled(there: tuple[World, str]) -> None:
    world, url = there
    waiting = begin_to_wait(world, url, "bob")
    cancelled = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}
    assert world.post("bob", cancelled).status == 202
    assert b"cancelled" in waiting.getresponse().read()
    assert world.communication("bob") == "thinking"
    waiting.close()


def test_a_wait_goes_on_when_the_connection_of_another_is_closed(there: tuple[World, str]) -> None:
    world, url = there
    staying = begin_to_wait(world, url, "cem")
    begin_to_wait(world, url, "bob").close()
    eventually(lambda: world.communication("bob") == "thinking", 10)
    world.send("ann", world.thread("ann", "cem"), "still there?")
    answer = json.loads(staying.getresponse().read())
    assert answer["result"]["structuredContent"]["message"]["text"] == "still there?"
    # The connection serves the next request, too.
    staying.request("POST", f"/mcp/v1/{world.secret('cem')}/mcp", b"{}", {"Content-Type": "application/json"})
    assert staying.getresponse().status == 400
    staying.close()
