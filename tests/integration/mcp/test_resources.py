"""The two resources."""

import dataclasses
import json
import re
from typing import Any

from chalicelib.mcp import resources
from tests.mcp_world import World


def read(here: World, name: str, uri: str) -> str:
    (content,) = here.rpc(name, "resources/read", {"uri": uri})["result"]["contents"]
    assert content["mimeType"] == "text/markdown"
    return str(content["text"])


def blocks(text: str) -> list[Any]:
    return [json.loads(found[1]) for found in re.findall(r"^(```+)json\n(.*?)\n\1$", text, re.DOTALL | re.MULTILINE)]


def test_the_state_has_the_agent_its_links_and_what_was_said(here: World) -> None:
    thread = here.thread("ann", "bob", name="plans")
    here.send("ann", thread, "hello ``` bob")
    here.send("bob", thread, "hello ann")
    here.thread("ann", "cem", name="not for bob")
    me, known, mine = blocks(read(here, "bob", "coral://state"))
    assert me["name"] == "bob"
    assert abs(me["currentUnixTime"] - here.services.clock.now_ms()) < 10_000
    assert [other["name"] for other in known] == ["ann", "cem"]
    assert known[0]["status"]["connectionStatus"]["type"] == "connected"
    (view,) = mine
    assert view["name"] == "plans"
    assert [message["text"] for message in view["messages"]] == ["hello ``` bob", "hello ann"]


def test_a_closed_thread_is_there_with_its_summary(here: World) -> None:
    thread = here.thread("ann", "bob")
    here.send("ann", thread, "gone")
    here.tool("ann", "coral_close_thread", threadId=thread, summary="what matters")
    text = read(here, "bob", "coral://state")
    assert "what matters" in text
    assert "gone" not in text


def test_the_state_is_bounded_and_says_what_it_leaves_out(here: World) -> None:
    thread = here.thread("ann", "bob")
    for number in range(12):
        here.send("ann", thread, f"{number}:" + "x" * 30_000)
    text = read(here, "bob", "coral://state")
    assert len(text) < 2 * resources.STATE_BYTES
    assert "Of 12 messages the 4 latest are shown." in text
    assert "11:xxx" in text
    assert "bytes in all" in text
    assert "7:xxx" not in text


def test_the_state_is_bounded_whatever_makes_it_long(here: World) -> None:
    """Summaries, names, and mentions, not texts alone."""
    others = [f"{number:03d}" + "n" * 120 for number in range(60)]
    for number in range(60):
        thread = here.thread("ann", "bob", name=f"{number}:" + "t" * 250)
        here.tool("ann", "coral_close_thread", threadId=thread, summary="s" * 100_000)
    text = read(here, "bob", "coral://state")
    assert len(text) < 2 * resources.STATE_BYTES
    assert "100000 bytes in all" in text
    assert "Of your 60 threads the" in text
    here.clear()
    here.session("ann", "bob", *others)
    thread = here.thread("ann", "bob", *others)
    for number in range(50):
        here.send("ann", thread, str(number), *others)
    text = read(here, "bob", "coral://state")
    assert len(text) < 4 * resources.STATE_BYTES
    assert "Of 50 messages the" in text


def test_the_instruction_speaks_of_the_tools_that_the_agent_has(here: World) -> None:
    text = read(here, "ann", "coral://instruction")
    assert "coral_wait_for_mention" in text
    assert "coral_close_session" not in text
    closer = dataclasses.replace(here.actor("ann").agent, plugins=["close_session_tool"])
    assert "coral_close_session" in resources.instruction(closer)
