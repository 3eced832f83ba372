"""The tools of an agent, called as a client of the 2025 era calls them."""

import json

import pytest

from chalicelib.domain import errors, threads
from tests.mcp_world import SESSION, World


def test_a_thread_has_its_creator_and_those_it_was_made_for(here: World) -> None:
    thread = here.tool("ann", "coral_create_thread", threadName="plans", participantNames=["bob"])["thread"]
    assert (thread["name"], thread["creatorName"], thread["participants"]) == ("plans", "ann", ["ann", "bob"])
    assert (thread["messages"], thread["state"]) == ([], {"state": "open"})


def test_arguments_with_a_default_may_be_left_out(here: World) -> None:
    assert here.tool("ann", "coral_create_thread", threadName="alone")["thread"]["participants"] == ["ann"]


def test_a_sent_message_is_read_by_a_wait_that_begins_later(here: World) -> None:
    thread = here.thread("ann", "bob")
    sent = here.send("ann", thread, "hello", "bob")
    got = here.tool("bob", "coral_wait_for_mention", currentUnixTime=0, maxWaitMs=0)
    assert got == {"status": "Message received", "message": sent}
    assert (sent["senderName"], sent["mentionNames"], sent["text"], sent["threadId"]) == (
        "ann",
        ["bob"],
        "hello",
        thread,
    )


@pytest.mark.parametrize(("given", "taken"), [('["bob", "cem"]', ["bob", "cem"]), ("[]", []), (None, [])])
def test_a_list_of_names_may_come_as_its_json_text_and_none_as_null(
    here: World, given: object, taken: list[str]
) -> None:
    """Some models write it so."""
    made = here.tool("ann", "coral_create_thread", threadName="t", participantNames=given)["thread"]
    assert made["participants"] == ["ann", *taken]
    sent = here.tool("ann", "coral_send_message", threadId=made["id"], content="x", mentions=given)["message"]
    assert sent["mentionNames"] == taken


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("coral_create_thread", {"threadName": "t", "participantNames": ["zoe", "yan"]}, "'zoe', 'yan'"),
        ("coral_create_thread", {"threadName": "t" * 257}, "at most 256 bytes of UTF-8 are taken, not 257"),
        ("coral_create_thread", {"threadName": "t", "participantNames": "bob"}, "participantNames: a list of names"),
        ("coral_create_thread", {"threadName": "t", "participantNames": '{"bob": 1}'}, "a list of names"),
        ("coral_create_thread", {"threadName": "t", "participantNames": '["bob", 1]'}, "participantNames.1"),
        ("coral_send_message", {"threadId": "THREAD", "content": "x", "mentions": '["cem"]'}, "'cem'"),
        (
            "coral_send_message",
            {"threadId": "THREAD", "content": "x", "mentions": str(["a"] * 101).replace("'", '"')},
            "at most 100 names are taken, not 101",
        ),
        ("coral_create_thread", {}, "threadName: Field required"),
        ("coral_send_message", {"threadId": "nope", "content": "x"}, "'nope'"),
        ("coral_send_message", {"threadId": "THREAD", "content": "x" * 300_001}, "at most 300000 bytes"),
        ("coral_send_message", {"threadId": "THREAD", "content": "\ud800"}, "surrogate"),
        ("coral_send_message", {"threadId": "THREAD", "content": "x", "mentions": ["ann"]}, "cannot mention itself"),
        ("coral_send_message", {"threadId": "THREAD", "content": "x", "mentions": ["cem"]}, "'cem'"),
        (
            "coral_send_message",
            {"threadId": "THREAD", "content": "x", "mentions": [f"a{n}" for n in range(1000)]},
            "at most 100 names are taken, not 1000",
        ),
        ("coral_add_participant", {"threadId": "THREAD", "participantName": "bob"}, "already"),
        ("coral_add_participant", {"threadId": "THREAD", "participantName": "zoe"}, "'zoe'"),
        ("coral_remove_participant", {"threadId": "THREAD", "participantName": "cem"}, "'cem'"),
        ("coral_close_thread", {"threadId": "nope", "summary": ""}, "'nope'"),
        ("coral_wait_for_agent", {"currentUnixTime": 0}, "agentName: Field required"),
        ("coral_wait_for_message", {"currentUnixTime": "now"}, "currentUnixTime: Input should be a valid integer"),
        ("coral_wait_for_message", {"currentUnixTime": 0, "maxWaitMs": "long"}, "maxWaitMs"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_limit(
    here: World, tool: str, arguments: dict[str, object], said: str
) -> None:
    thread = here.thread("ann", "bob")
    filled = {name: thread if value == "THREAD" else value for name, value in arguments.items()}
    assert said in here.refusal("ann", tool, **filled)


def test_an_agent_outside_a_thread_cannot_change_who_takes_part(here: World) -> None:
    thread = here.thread("ann", "bob")
    for tool, name in {"coral_add_participant": "cem", "coral_remove_participant": "bob"}.items():
        assert "'cem' takes no part" in here.refusal("cem", tool, threadId=thread, participantName=name)


def test_an_agent_outside_an_open_thread_may_send_to_it_and_hears_no_answer(here: World) -> None:
    thread = here.thread("ann", "bob")
    sent = here.send("cem", thread, "from outside", "bob")
    assert here.tool("bob", "coral_wait_for_mention", currentUnixTime=0, maxWaitMs=0)["message"] == sent
    assert here.tool("ann", "coral_wait_for_agent", currentUnixTime=0, maxWaitMs=0, agentName="cem")["message"] == sent
    here.send("ann", thread, "an answer")
    assert "'cem'" in here.refusal("ann", "coral_send_message", threadId=thread, content="to cem", mentions=["cem"])
    assert here.tool("cem", "coral_wait_for_message", currentUnixTime=0, maxWaitMs=0)["status"] == "Timeout reached"


def test_an_agent_outside_a_thread_may_close_it(here: World) -> None:
    thread = here.thread("ann", "bob")
    here.tool("cem", "coral_close_thread", threadId=thread, summary="settled elsewhere")
    (view,) = threads.views(here.services, SESSION)
    assert view.state.to_wire()["summary"] == "settled elsewhere"
    assert "is closed" in here.refusal("cem", "coral_send_message", threadId=thread, content="x")


def test_a_closed_thread_takes_no_message_and_keeps_its_summary(here: World) -> None:
    thread = here.thread("ann", "bob")
    here.send("ann", thread, "secret plan")
    here.tool("bob", "coral_close_thread", threadId=thread, summary="all settled")
    for tool, more in {"coral_send_message": {"content": "x"}, "coral_close_thread": {"summary": "again"}}.items():
        assert "is closed" in here.refusal("ann", tool, threadId=thread, **more)
    (view,) = threads.views(here.services, SESSION)
    assert view.messages == []
    assert view.state.to_wire()["summary"] == "all settled"


def test_who_takes_part_in_a_closed_thread_may_change(here: World) -> None:
    """Coral's own McpToolsTest does it: an agent closes a thread and then removes itself."""
    thread = here.thread("ann", "bob")
    here.send("ann", thread, "gone with the end")
    here.tool("bob", "coral_close_thread", threadId=thread, summary="all settled")
    here.tool("bob", "coral_remove_participant", threadId=thread, participantName="bob")
    assert "'bob' takes no part" in here.refusal("bob", "coral_add_participant", threadId=thread, participantName="cem")
    here.tool("ann", "coral_add_participant", threadId=thread, participantName="cem")
    (view,) = threads.views(here.services, SESSION)
    assert (view.participants, view.messages) == (["ann", "cem"], [])
    assert here.tool("cem", "coral_wait_for_message", currentUnixTime=0, maxWaitMs=0)["status"] == "Timeout reached"
    told = [entry.event["type"] for entry in here.services.log.read(SESSION)]
    assert [kind for kind in told if "participant" in kind] == [
        "thread_participant_removed",
        "thread_participant_added",
    ]


def test_a_removed_participant_gets_no_more_messages(here: World) -> None:
    thread = here.thread("ann", "bob", "cem")
    here.tool("ann", "coral_remove_participant", threadId=thread, participantName="bob")
    here.send("ann", thread, "without bob")
    assert here.tool("bob", "coral_wait_for_message", currentUnixTime=0, maxWaitMs=0)["status"] == "Timeout reached"
    assert here.tool("cem", "coral_wait_for_message", currentUnixTime=0, maxWaitMs=0)["status"] == "Message received"


def test_messages_of_the_greatest_size_fit_whatever_they_are_made_of(here: World) -> None:
    thread = here.thread("ann", "bob")
    texts = ['"' * 300_000, "\x01" * 300_000, "ä" * 150_000]
    for text in texts:
        here.send("ann", thread, text)
    assert [message.text for message in threads.views(here.services, SESSION)[0].messages] == texts


def test_groups_limit_which_agents_can_be_added_to_a_thread(here: World) -> None:
    session = "22222222-2222-4333-8444-555555555555"
    here.session("ann", "bob", "cem", groups=[["ann", "bob"], ["bob", "cem"]], session_id=session)
    thread = threads.create(here.services, here.actor("bob", session), "all", ["ann", "cem"])
    assert thread.participants == ["bob", "ann", "cem"]
    with pytest.raises(errors.BadRequest, match="'cem'"):
        threads.create(here.services, here.actor("ann", session), "strangers", ["cem"])


def test_a_session_without_groups_lets_all_agents_talk(here: World) -> None:
    session = "22222222-2222-4333-8444-555555555555"
    here.session("ann", "bob", groups=[], session_id=session)
    assert threads.create(here.services, here.actor("ann", session), "us", ["bob"]).participants == ["ann", "bob"]


def test_the_close_session_tool_is_there_only_with_its_plugin(here: World) -> None:
    session = "22222222-2222-4333-8444-555555555555"
    here.session("ann", session_id=session, plugins=["close_session_tool"])
    names = [tool["name"] for tool in here.rpc("ann", "tools/list")["result"]["tools"]]
    assert "coral_close_session" not in names
    assert "coral_close_session" in here.refusal("ann", "coral_close_session", reason="x")
    call = {"name": "coral_close_session", "arguments": {"reason": "done"}}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call}
    answer = here.post("ann", body, secret=here.secret("ann", session))
    assert json.loads(answer.body)["result"]["structuredContent"] == {"message": "The session is closing"}
    record = here.services.sessions.find("ns", session)
    assert record is not None
    assert (record.status, record.close_reason) == ("closing", "closed_by_agent")


def test_every_property_of_an_input_is_required(here: World) -> None:
    for tool in here.rpc("ann", "tools/list")["result"]["tools"]:
        schema = tool["inputSchema"]
        assert schema["type"] == "object"
        assert schema["required"] == list(schema["properties"])
        assert all("description" in part for part in schema["properties"].values()), tool["name"]
        assert tool["outputSchema"]["type"] == "object"


def test_the_times_of_a_wait_are_plain_integers_to_a_model(here: World) -> None:
    """APIs of some models refuse bounds of this size in a tool's schema."""
    for tool in here.rpc("ann", "tools/list")["result"]["tools"]:
        for name in {"currentUnixTime", "maxWaitMs"} & set(tool["inputSchema"]["properties"]):
            part = tool["inputSchema"]["properties"][name]
            assert (part["type"], set(part) - {"type", "description", "default"}) == ("integer", set())
