"""The example agents with a model: each answers in a session of the local stack, and its page shows it as it is."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from infra.local.stack import LocalStack
from tests import environments
from tests.client import Client, agent, eventually, function, session
from tests.offline_models import TEXT, Answers, Asked, OfflineModels

pytestmark = pytest.mark.xdist_group("models")

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
#: The first imports of LangGraph may take long on a busy machine.
ANSWERED_S = 60


class Asking:
    """A session in which ``me`` asks an example."""

    def __init__(self, stack: LocalStack, name: str) -> None:
        self.client = Client(stack.url, stack.key)
        asked = agent("assistant", name)
        # Another model than the agent's file names: what the provider of these tests has.
        asked["proxies"] = {"MAIN": {"configurationName": "one", "modelName": "large"}}
        self.path = self.client.create(session(function("me", "puppet"), asked, namespace="examples"))
        self._puppet = self.path.replace("/local/session/", "/puppet/") + "/me/thread"
        wanted = {"threadName": "t", "participantNames": ["assistant"]}
        self.thread = self.client.call("POST", self._puppet, wanted).body["thread"]["id"]

    def ask(self, text: str) -> None:
        said = {"threadId": self.thread, "content": text, "mentions": ["assistant"]}
        assert self.client.call("POST", f"{self._puppet}/message", said).status == 200

    def answers(self) -> list[str]:
        [thread] = self.client.call("GET", f"{self.path}/extended").body["threads"]
        return [message["text"] for message in thread["messages"] if message["senderName"] == "assistant"]

    def ends_with_the_session(self) -> None:
        """Close the session and wait until it is gone: the agent has not to be killed for that."""
        self.client.call("DELETE", self.path)
        self.client.wait_for_status(self.path, None, within_s=20)


def test_the_assistant_answers_with_its_model(stack: LocalStack, provider: OfflineModels) -> None:
    stack.register(EXAMPLES / "assistant")
    asking = Asking(stack, "assistant")
    asking.ask("Who are you?")
    eventually(lambda: asking.answers() == [TEXT], ANSWERED_S, "the model's answer is sent")
    asking.ask("And now?")
    eventually(lambda: asking.answers() == [TEXT] * 2, what="the second answer is sent")

    system, user = provider.asked[0].json["messages"]
    assert "Who are you?" in system["content"]
    assert user == {"role": "user", "content": "Who are you?"}
    asking.ends_with_the_session()


def calls_a_tool(tool: str, arguments: dict[str, Any]) -> Answers:
    """An answer of OpenAI's in which the model calls a tool."""
    call = {"id": "call_1", "type": "function", "function": {"name": tool, "arguments": json.dumps(arguments)}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    usage = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    made = {"id": "1", "object": "chat.completion", "created": 1, "model": "large", "choices": [choice], "usage": usage}
    return Answers(body=json.dumps(made).encode())


@pytest.mark.clients
def test_a_graph_of_langgraph_answers_with_the_tools_of_the_session(
    stack: LocalStack, provider: OfflineModels, tmp_path: Path
) -> None:
    folder = shutil.copytree(EXAMPLES / "assistant-langgraph", tmp_path / "assistant-langgraph")
    try:
        programs = environments.programs("langgraph", EXAMPLES / "assistant-langgraph/requirements.txt")
    except environments.NotInstallable as error:
        if "CI" in os.environ:
            pytest.fail(f"LangGraph cannot be installed: {error}")
        pytest.skip(f"LangGraph cannot be installed here: {error}")
    (folder / ".venv").symlink_to(programs.parent)
    stack.register(folder)
    asking = Asking(stack, "assistant-langgraph")

    def answer(asked: Asked) -> Answers:
        message = json.loads(asked.json["messages"][-1]["content"])
        said = {"threadId": message["threadId"], "content": "I am a graph", "mentions": [message["senderName"]]}
        return calls_a_tool("coral_send_message", said)

    provider.next(answer)
    asking.ask("Who are you?")
    eventually(lambda: asking.answers() == ["I am a graph"] and len(provider.asked) == 2, ANSWERED_S, "it has answered")
    named = [tool["function"]["name"] for tool in provider.asked[0].json["tools"]]
    assert "coral_send_message" in named
    assert not [name for name in named if "_wait_" in name]

    asking.ask("And what did I ask before?")
    eventually(lambda: len(provider.asked) == 3, what="the graph is asked again")
    assert "Who are you?" in str(provider.asked[2].json["messages"])
    asking.ends_with_the_session()
