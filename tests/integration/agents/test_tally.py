"""The example agent `tally`: the same agent as a function of a folder, and as a process."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.stack import LocalStack
from tests.client import Client, agent, eventually, function, session

pytestmark = pytest.mark.xdist_group("functions")

TALLY = Path(__file__).parents[3] / "agents/tally"
HOLD = {"mode": "hold_after_exit", "duration": 60_000}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with LocalStack(agents=[TALLY]) as stack:
        yield Client(stack.url, stack.key)


@pytest.mark.parametrize("ask", [function, agent], ids=["function", "executable"])
def test_it_counts_words_until_there_are_enough(client: Client, ask: Callable[..., dict[str, Any]]) -> None:
    path = client.create(session(function("p", "puppet"), ask("t", "tally", GOAL=("u32", 5)), persistenceMode=HOLD))
    puppet = path.replace("/local/session/", "/puppet/") + "/p/thread"
    thread = client.call("POST", puppet, {"threadName": "t", "participantNames": ["t"]}).body["thread"]["id"]
    for text in ("one two", "three, four", "five six"):
        client.call("POST", f"{puppet}/message", {"threadId": thread, "content": text, "mentions": ["t"]})

    def answers() -> list[str]:
        [shown] = client.call("GET", f"{path}/extended").body["threads"]
        return [message["text"] for message in shown["messages"] if message["senderName"] == "t"]

    eventually(lambda: len(answers()) == 3, within_s=20)
    assert answers() == ["2 words so far", "4 words so far", "6 words so far, which is enough"]
    eventually(lambda: client.call("GET", f"{path}/agent").body[1]["status"]["type"] == "stopped")
    assert "p: 2 words so far" in [line["text"] for line in client.call("GET", f"{path}/logs?agent=t").body]
    client.call("DELETE", path)
