"""The two resources."""

import dataclasses
import json
import re
from typing import Any

from chalicelib.mcp import resources
from tests.mcp_world import SESSION, TestClock, World


def read(here: World, name: str, uri: str) -> str:
    (content,) = here.rpc(name, "resources/read", {"uri": uri})["result"]["contents"]
    assert content["mimeType"] == "text/markdown"
    return str(content["text"])


def blocks(text: str) -> list[Any]:
    return [json.loads(found[1]) for found in re.findall(r"^(```+)json\n(.*?)\n\1$", text, re.DOTALL | re.MULTILINE)]


def test_the_resources_have_corals_names(here: World) -> None:
    listed = here.rpc("ann", "resources/list")["result"]["resources"]
    assert [(each["name"], each["uri"]) for each in listed] == [
        ("Instructions", "coral://instruction"),
        ("State", "coral://state"),
    ]


def test_the_state_says_who_reads_it_and_the_time_behind_all_that_it_shows(here: World) -> None:
    thread = here.thread("ann", "bob")
    here.send("ann", thread, "shown")
    text = read(here, "bob", "coral://state")
    assert text.startswith("# General\n")
    assert '"bob"' in text
    (time_ms,) = map(int, re.findall(r"\b[0-9]{13}\b", text.partition("# Agents")[0]))
    assert abs(time_ms - here.services.clock.now_ms()) < 10_000
    assert (
        here.tool("bob", "coral_wait_for_message", currentUnixTime=time_ms, maxWaitMs=0)["status"] != "Message received"
    )


def test_the_state_has_the_agents_links_in_corals_form(here: World) -> None:
    here.rpc("ann", "ping")
    (known,) = blocks(read(here, "bob", "coral://state"))
    started = known[0].pop("agentStartTime")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", started)
    ann = {"agentName": "ann", "agentDescription": "", "agentConnected": True, "agentWaiting": False}
    assert known[0] == {**ann, "agentSleeping": False, "agentRunning": True}
    assert (known[1]["agentName"], known[1]["agentConnected"], known[1]["agentRunning"]) == ("cem", False, True)
    here.services.agents.stop(SESSION, "ann", now_ms=1, reason="x")
    (known,) = blocks(read(here, "bob", "coral://state"))
    assert (known[0]["agentConnected"], known[0]["agentRunning"]) == (False, False)


def test_an_agent_that_waits_is_seen_waiting(here: World) -> None:
    clock = TestClock()
    with here.on(clock):
        seen = []
        clock.plan(1_000, lambda: seen.append(blocks(read(here, "bob", "coral://state"))[0][0]["agentWaiting"]))
        here.tool("ann", "coral_wait_for_message", currentUnixTime=clock.now_ms(), maxWaitMs=2_000)
        assert seen == [True]


def test_the_state_has_the_agents_threads_in_corals_form(here: World) -> None:
    thread = here.thread("ann", "bob", name="plans")
    sent = [here.send("ann", thread, "hello ``` bob", "bob"), here.send("bob", thread, "hello ann")]
    here.thread("ann", "cem", name="not for bob")
    text = read(here, "bob", "coral://state")
    _, mine = blocks(text)
    assert mine == [
        {
            "threadId": thread,
            "threadName": "plans",
            "owningAgentName": "ann",
            "participatingAgents": ["ann", "bob"],
            "state": "open",
            "messages": [
                {
                    "messageText": "hello ``` bob",
                    "sendingAgentName": "ann",
                    "messageTimestamp": sent[0]["timestamp"],
                    "mentionAgentNames": ["bob"],
                },
                {"messageText": "hello ann", "sendingAgentName": "bob", "messageTimestamp": sent[1]["timestamp"]},
            ],
        }
    ]
    assert '"threadName":"plans"' in text
    assert "not for bob" not in text


def test_the_state_has_sections_only_for_what_there_is(here: World) -> None:
    other = "22222222-2222-4333-8444-555555555555"
    here.session("dan", groups=[], session_id=other)
    message = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "coral://state"}}
    answer = json.loads(here.post("dan", message, secret=here.secret("dan", other)).body)
    alone = answer["result"]["contents"][0]["text"]
    assert re.findall(r"^# .*$", alone, re.MULTILINE) == ["# General"]
    here.thread("ann")
    text = read(here, "ann", "coral://state")
    assert re.findall(r"^# .*$", text, re.MULTILINE) == ["# General", "# Agents", "# Threads and messages"]


def test_a_closed_thread_is_there_with_its_summary(here: World) -> None:
    thread = here.thread("ann", "bob")
    here.send("ann", thread, "gone")
    here.tool("ann", "coral_close_thread", threadId=thread, summary="what matters")
    text = read(here, "bob", "coral://state")
    (view,) = blocks(text)[1]
    assert (view["state"], view["summary"], "messages" in view) == ("closed", "what matters", False)
    assert '"gone"' not in text


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
