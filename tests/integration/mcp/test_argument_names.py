"""Tools take the names that their schemas show, never the names that their arguments have in Python."""

import pytest

from tests.mcp_world import World


@pytest.mark.parametrize(
    ("tool", "arguments", "missing"),
    [
        ("coral_create_thread", {"thread_name": "t"}, "threadName"),
        ("coral_close_thread", {"thread_id": "THREAD", "summary": "s"}, "threadId"),
        ("coral_add_participant", {"threadId": "THREAD", "participant_name": "cem"}, "participantName"),
        ("coral_remove_participant", {"threadId": "THREAD", "participant_name": "bob"}, "participantName"),
        ("coral_send_message", {"thread_id": "THREAD", "content": "hello"}, "threadId"),
        ("coral_wait_for_agent", {"currentUnixTime": 0, "maxWaitMs": 0, "agent_name": "bob"}, "agentName"),
    ],
)
def test_a_name_of_python_is_not_the_name_of_an_argument(
    here: World, tool: str, arguments: dict[str, object], missing: str
) -> None:
    thread = here.thread("ann", "bob")
    filled = {name: thread if value == "THREAD" else value for name, value in arguments.items()}
    said = here.refusal("ann", tool, **filled)
    assert said.startswith(f"{missing}: ")
    assert "required" in said


def test_an_optional_argument_by_its_name_in_python_is_ignored(here: World) -> None:
    answer = here.tool("ann", "coral_create_thread", threadName="t", participant_names=["bob"])
    assert answer["thread"]["participants"] == ["ann"]
    here.send("bob", here.thread("bob", "ann"), "before", "ann")
    for kind in ("message", "mention"):
        assert (
            here.tool("ann", f"coral_wait_for_{kind}", current_unix_time=0, maxWaitMs=0)["status"] == "Timeout reached"
        )
