"""The wire as Coral's own console uses it: signed in by its cookie, a socket first, then the state, then the frames.

What it does is read off its sources (0.3.3): ``CoralServer``, ``Session``, ``Logs`` and its login form.
"""

import json
import urllib.request
from typing import Any

import pytest

from infra.local.stack import LocalStack
from tests.client import Answer, Client, session, sleeper
from tests.integration.api.test_sign_in import Browser
from tests.integration.live.conftest import Connect, Socket, session_of

pytestmark = pytest.mark.xdist_group("live")


class Console:
    """Makes requests as a page of the host does: with the cookie, and the headers that a browser adds."""

    def __init__(self, stack: LocalStack, follow: Connect) -> None:
        self._stack, self._follow = stack, follow
        self._headers = {"Cookie": Browser(stack).signs_in(), "Origin": stack.url}

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        return Client(self._stack.url, None).call(
            method, path, body, {**self._headers, "Sec-Fetch-Site": "same-origin"}
        )

    def get(self, path: str) -> Any:
        answer = self.call("GET", path)
        assert answer.status == 200, answer
        return answer.body

    def socket(self, what: str, *, log: bool = False) -> Socket:
        headers = {"Cookie": self._headers["Cookie"]}
        return self._follow(what, None, log=log, additional_headers=headers, origin=self._headers["Origin"])


@pytest.fixture
def console(stack: LocalStack, follow: Connect) -> Console:
    return Console(stack, follow)


def shown(state: dict[str, Any], frames: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the texts of each thread as the console shows them: those of the state, and behind them those of frames.

    A message of a thread that it does not know yet is lost to it.
    """
    threads = {thread["id"]: [each["text"] for each in thread["messages"]] for thread in state["threads"]}
    for frame in frames:
        if frame["type"] == "thread_created":
            threads[frame["thread"]["id"]] = [each["text"] for each in frame["thread"]["messages"]]
        elif frame["type"] == "thread_message_sent":
            threads[frame["message"]["threadId"]].append(frame["message"]["text"])
    return threads


def speak(console: Console, path: str, texts: list[str], thread: str | None = None) -> str:
    """Send messages in an agent's name, in a new thread unless one is given; return its id."""
    puppet = path.replace("/local/session/", "/puppet/") + "/a/thread"
    if thread is None:
        opened = console.call("POST", puppet, {"threadName": "talk", "participantNames": ["b"]})
        thread = opened.body["thread"]["id"]
    for text in texts:
        sent = console.call("POST", f"{puppet}/message", {"threadId": thread, "content": text, "mentions": ["b"]})
        assert sent.status == 200
    return str(thread)


def test_a_session_is_shown_whole_and_nothing_of_it_twice(console: Console, namespace: str) -> None:
    request = session(sleeper("a"), sleeper("b"), namespace=namespace)
    identifier = console.call("POST", "/api/v1/local/session", request).body
    path = f"/api/v1/local/session/{identifier['namespace']}/{identifier['sessionId']}"
    first = speak(console, path, ["before"])

    socket = console.socket(session_of(path))
    state = console.get(f"{path}/extended")
    speak(console, path, ["one", "two"], first)
    second = speak(console, path, ["three"])
    assert console.call("DELETE", f"{path.replace('/local/session/', '/puppet/')}/b").status == 200
    assert console.call("DELETE", path).status == 200
    frames, code = socket.rest()

    assert shown(state, frames) == {first: ["before", "one", "two"], second: ["three"]}
    assert {agent["name"] for agent in state["agents"]} == {"a", "b"}
    assert code == 1000


def test_the_list_follows_the_manager_in_its_namespace(console: Console, namespace: str) -> None:
    console.get("/api/v1/registry")
    socket = console.socket(f"lsm?namespaceFilter={namespace}")
    # Before there is such a namespace, its own listing is a 404, by which the console adds it.
    assert console.call("GET", f"/api/v1/local/namespace/{namespace}").status == 404
    identifier = console.call("POST", "/api/v1/local/session", session(sleeper("a"), namespace=namespace)).body
    states = {each["base"]["name"]: each["sessions"] for each in console.get("/api/v1/local/namespace/extended")}
    assert [each["id"] for each in states[namespace]] == [identifier["sessionId"]]
    assert console.call("DELETE", f"/api/v1/local/session/{namespace}/{identifier['sessionId']}").status == 200

    told = socket.until("namespace_closed")

    assert [each["type"] for each in told if each["type"].startswith("session_")] == [
        "session_created",
        "session_running",
        "session_closing",
        "session_closed",
    ]


def test_an_agents_lines_come_by_the_cookie(console: Console, namespace: str) -> None:
    identifier = console.call("POST", "/api/v1/local/session", session(sleeper("a"), namespace=namespace)).body
    socket = console.socket(f"logs?sessionFilter={identifier['sessionId']}&agentFilter=a", log=True)
    line = socket.next()
    assert {"type": "agent", "name": "a", "mdcMap": {"agent": "a"}} in line["tags"]
    assert isinstance(line["text"], str)
    console.call("DELETE", f"/api/v1/local/session/{namespace}/{identifier['sessionId']}")


def test_its_form_leads_to_where_it_is_served(stack: LocalStack) -> None:
    status, headers, _ = Browser(stack).post(f"token={stack.key}", to="%2Fui%2Fconsole%2F")
    assert (status, headers["location"]) == (302, "/ui/console/")
    with urllib.request.urlopen(f"{stack.url}/api_v1.json") as answer:
        assert json.load(answer)["openapi"]
