"""Coral's PuppetApiTest: a client speaks for agents that do nothing themselves."""

from typing import Any

import pytest

from tests.client import Client, agent, session

pytestmark = pytest.mark.xdist_group("coral")


@pytest.mark.coral("PuppetApiTest.testPuppetFunctions")
def test_puppet_functions(client: Client, namespace: str) -> None:
    path = client.create(session(agent("agent1", "puppet"), agent("agent2", "puppet"), namespace=namespace))
    puppets = path.replace("/local/session/", "/puppet/")

    def act(method: str, name: str, below: str, body: Any = None) -> Any:
        answer = client.call(method, f"{puppets}/{name}{below}", body)
        assert answer.status == 200, answer
        return answer.body

    def thread() -> dict[str, Any]:
        [found] = client.call("GET", f"{path}/extended").body["threads"]
        return dict(found)

    made = act("POST", "agent1", "/thread", {"threadName": "test thread", "participantNames": []})["thread"]
    assert (made["creatorName"], made["participants"]) == ("agent1", ["agent1"])
    both = {"threadId": made["id"], "participantName": "agent2"}
    act("POST", "agent1", "/thread/participant", both)
    assert "agent2" in thread()["participants"]
    message = {"threadId": made["id"], "content": "test message", "mentions": ["agent1"]}
    act("POST", "agent2", "/thread/message", message)
    [sent] = thread()["messages"]
    assert (sent["senderName"], sent["mentionNames"]) == ("agent2", ["agent1"])
    act("DELETE", "agent2", "/thread/participant", both)
    assert "agent2" not in thread()["participants"]
    act("DELETE", "agent1", "/thread", {"threadId": made["id"], "summary": "thread finished"})
    for name in ("agent1", "agent2"):
        act("DELETE", name, "")
    client.wait_for_status(path, None)
