"""Clients as they are, each in a process and an environment of its own, as agents of sessions on the local stack.

The programs are in ``tests/clients``: a library each, which does what the test says. ``make test`` takes those that
are quick to install, ``make clients`` all of them.
"""

import json
import os
import queue
import subprocess
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pytest
from botocore.exceptions import ClientError

from chalicelib.mcp import clients, endpoint
from chalicelib.stores import Stores
from infra.local.stack import LocalStack
from tests import environments
from tests.agents import REPORTER, SLEEPER
from tests.client import Client, agent, eventually, session, sleeper
from tests.mcp_clients import CLIENTS, OTHERS, QUICK, Kind

#: What a client is to do ends within this time, or it hangs: no wait of a test is longer.
DEADLINE_S = 60.0
#: Some frameworks take 4 s of CPU to be imported, and the machine may be busy.
START_S = 120.0
#: The end of a session is told in this time.
SOON_S = 10.0
ENDLESS_MS = 55_000

pytestmark = pytest.mark.xdist_group("clients")


@pytest.fixture(
    params=[
        *(pytest.param(kind, id=kind.name) for kind in QUICK),
        *(pytest.param(kind, id=kind.name, marks=pytest.mark.clients) for kind in OTHERS),
    ]
)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture
def command(kind: Kind) -> list[str]:
    """How a client is started, installed."""
    try:
        return kind.command()
    except environments.NotInstallable as error:
        if "CI" in os.environ:
            pytest.fail(f"{kind.name} cannot be installed: {error}")
        pytest.skip(f"{kind.name} cannot be installed here: {error}")


class Driven:
    """A client's process: it is told what to do, and tells how that went."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("w") as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**os.environ, "PYTHONPATH": str(CLIENTS)},
            )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def outcome(self, within_s: float = DEADLINE_S) -> dict[str, Any]:
        """Wait for the outcome of what is being done."""
        try:
            line = self._lines.get(timeout=within_s)
        except queue.Empty:
            pytest.fail(f"the client hangs: nothing within {within_s} s\n{self.said()}")
        assert line, f"the client's process ended with {self._process.wait(DEADLINE_S)}\n{self.said()}"
        found: dict[str, Any] = json.loads(line)
        return found

    def said(self) -> str:
        """Return the end of what its process wrote besides."""
        return self._log.read_text()[-3000:]

    def start(self, do: str, **wanted: Any) -> None:
        """Have something done; `outcome` waits for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **wanted}) + "\n")
        self._process.stdin.flush()

    def tried(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return the outcome."""
        self.start("call", tool=tool, arguments=arguments)
        return self.outcome()

    def value(self, do: str, **wanted: Any) -> Any:
        """Have something done that must succeed; returns what came of it."""
        self.start(do, **wanted)
        return self.succeeded()

    def succeeded(self, within_s: float = DEADLINE_S) -> Any:
        """Wait for an outcome that must be a success; returns its value."""
        outcome = self.outcome(within_s)
        assert outcome["ok"], f"{outcome['error']}\n{self.said()}"
        return outcome["value"]

    def call(self, tool: str, **arguments: Any) -> Any:
        """Call a tool that must succeed; returns its answer."""
        return self.value("call", tool=tool, arguments=arguments)

    def starts_to_wait(self, talk: "Talk") -> None:
        """Have it wait for a mention, for longer than any test; returns when it is seen waiting."""
        wanted = {"currentUnixTime": 0, "maxWaitMs": ENDLESS_MS}
        self.start("call", tool="coral_wait_for_mention", arguments=wanted)
        talk.until_ann_waits()

    def close(self) -> dict[str, Any]:
        """Have the connection closed; returns the outcome. The process must end by itself, and not in a crash."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        outcome = self.outcome()
        assert self._process.wait(DEADLINE_S) == 0, self.said()
        return outcome

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for end in (self._process.stdin, self._process.stdout):
            assert end is not None
            end.close()


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(agents=[REPORTER, SLEEPER]) as running:
        yield running


@dataclass(frozen=True)
class Talk:
    """A session of ``ann``, whom a client plays, and ``bob``, who is a puppet."""

    api: Client
    path: str
    #: What the process of ``ann`` was given as CORAL_CONNECTION_URL.
    url: str

    @property
    def session_id(self) -> str:
        return self.path.rpartition("/")[2]

    def says(self, thread: str, text: str) -> None:
        """Have ``bob`` answer ``ann``."""
        puppet = self.path.replace("/local/session/", "/puppet/") + "/bob/thread/message"
        answer = self.api.call("POST", puppet, {"threadId": thread, "content": text, "mentions": ["ann"]})
        assert answer.status == 200, answer

    def until_ann_waits(self) -> None:
        """Wait until ``ann`` is seen waiting for a message."""

        def waits() -> bool:
            ann = self.api.call("GET", f"{self.path}/extended").body["agents"][0]
            communication = ann["status"]["connectionStatus"].get("communicationStatus", {})
            return bool(communication.get("type") == "waiting_message")

        eventually(waits, DEADLINE_S, "ann waits")

    def close(self) -> None:
        """Close the session, as a user does."""
        assert self.api.call("DELETE", self.path).status == 200


@pytest.fixture
def talk(stack: LocalStack, tmp_path: Path, command: list[str]) -> Iterator[Talk]:
    # It begins when the client is there: an installation may take longer than a session.
    report = tmp_path / "ann.json"
    ann = agent("ann", "reporter", REPORT_TO=("string", str(report)), WAIT=("bool", True))
    ann["plugins"] = [{"type": "close_session_tool"}]
    api = Client(stack.url, stack.key)
    path = api.create(session(ann, sleeper("bob"), namespace="clients"))
    eventually(report.exists, DEADLINE_S, "ann's process has started")
    yield Talk(api, path, json.loads(report.read_text())["environment"]["CORAL_CONNECTION_URL"])
    api.call("DELETE", path)


@pytest.fixture
def ann(kind: Kind, command: list[str], stack: LocalStack, talk: Talk, tmp_path: Path) -> Iterator[Driven]:
    """A client that is connected as ``ann``."""
    pausing = stack.services.settings.mcp_wait_hold_ms is not None
    with Driven([*command, talk.url, *kind.arguments], tmp_path / "client.log") as client:
        assert client.succeeded(START_S) == kind.agrees_on(pausing=pausing)
        yield client


def converse(ann: Driven, talk: Talk) -> None:
    assert len(ann.value("tools")) == 9
    assert sorted(ann.value("resources")) == ["coral://instruction", "coral://state"]
    assert "coral_send_message" in ann.value("read", uri="coral://instruction")
    thread = ann.call("coral_create_thread", threadName="sums", participantNames=["bob"])["thread"]["id"]
    ann.call("coral_send_message", threadId=thread, content="2 + 2?", mentions=["bob"])
    ann.starts_to_wait(talk)
    talk.says(thread, "4")
    answer = ann.succeeded()["message"]

    assert (answer["text"], answer["senderName"], answer["threadId"]) == ("4", "bob", thread)
    assert "2 + 2?" in ann.value("read", uri="coral://state")
    refused = ann.tried("coral_send_message", threadId="nope", content="x", mentions=[])
    assert "nope" in refused["error"]
    ann.call("coral_close_thread", threadId=thread, summary="it is 4")
    assert ann.close()["ok"]


def test_a_whole_conversation(ann: Driven, talk: Talk) -> None:
    converse(ann, talk)


@pytest.fixture
def pausing(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every wait is paused at once, of a client that is known to come back."""
    monkeypatch.setattr(stack.services, "settings", stack.services.settings.model_copy(update={"mcp_wait_hold_ms": 0}))


@pytest.fixture
def refusals(monkeypatch: pytest.MonkeyPatch) -> list[endpoint.Request]:
    """What AWS itself refuses, so that Atoll sees nothing of it: the first time that a client comes back."""
    refused: list[endpoint.Request] = []
    handle = endpoint.handle

    def handled(stores: Stores, request: endpoint.Request) -> endpoint.Response:
        if "last-event-id" in request.headers and not refused:
            refused.append(request)
            return endpoint.Response(429, {"Content-Type": "application/json"}, b'{"Reason":"CallerRateLimitExceeded"}')
        return handle(stores, request)

    monkeypatch.setattr(endpoint, "handle", handled)
    return refused


@pytest.fixture
def user_agents(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What clients say of themselves when it is asked whether they are known."""
    said: set[str] = set()
    known = clients.known

    def noted(headers: Mapping[str, str]) -> clients.Client | None:
        said.add(headers.get("user-agent", ""))
        return known(headers)

    monkeypatch.setattr(clients, "known", noted)
    return said


@pytest.mark.usefixtures("pausing")
def test_a_whole_conversation_in_which_every_wait_is_paused(
    kind: Kind, user_agents: set[str], refusals: list[endpoint.Request], ann: Driven, talk: Talk, comebacks: list[str]
) -> None:
    """A client notices nothing, whether it comes back for its waits, be that in vain at first, or is held as before."""
    converse(ann, talk)
    assert bool(refusals) == kind.comes_back
    # One that asks for the version of a pin, unasked, is not looked at.
    assert {each.partition("/")[0] for each in user_agents} <= {kind.user_agent}
    assert bool(comebacks) == kind.comes_back


class Throttle:
    """DynamoDB, which refuses calls about a session when it is told to."""

    def __init__(self, stack: LocalStack, session_id: str) -> None:
        self._session_id = session_id
        #: The operations that are refused next, once each.
        self.next: set[str] = set()
        self._events = stack.services.dynamodb.meta.events
        self._events.register("before-parameter-build.dynamodb", self._refuse)

    def end(self) -> None:
        """Refuse nothing any more."""
        self._events.unregister("before-parameter-build.dynamodb", self._refuse)

    def _refuse(self, params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name in self.next and self._session_id in str(params):
            self.next.discard(model.name)
            told = {"Code": "ThrottlingException", "Message": "Rate exceeded"}
            raise ClientError({"Error": told, "ResponseMetadata": {"HTTPStatusCode": 400}}, model.name)  # type: ignore[typeddict-item]  # of no request


@pytest.fixture
def throttle(stack: LocalStack, talk: Talk) -> Iterator[Throttle]:
    made = Throttle(stack, talk.session_id)
    yield made
    made.end()


#: The call that reads who calls, before anything is known of the request; and the one that commits a message.
READS_WHO_CALLS, COMMITS = "BatchGetItem", "UpdateItem"


@pytest.mark.parametrize("operation", [READS_WHO_CALLS, COMMITS])
def test_a_client_survives_a_tool_that_is_busy(ann: Driven, throttle: Throttle, operation: str) -> None:
    thread = ann.call("coral_create_thread", threadName="sums", participantNames=["bob"])["thread"]["id"]
    wanted = {"threadId": thread, "content": "2 + 2?", "mentions": ["bob"]}
    throttle.next.add(operation)
    is_told_that_it_is_busy(ann.tried("coral_send_message", **wanted), throttle)
    ann.call("coral_send_message", **wanted)
    assert ann.close()["ok"]


def test_a_client_survives_a_list_that_is_busy(ann: Driven, throttle: Throttle) -> None:
    ann.call("coral_create_thread", threadName="sums", participantNames=["bob"])
    throttle.next.add(READS_WHO_CALLS)
    ann.start("tools")
    is_told_that_it_is_busy(ann.outcome(), throttle)
    assert len(ann.value("tools")) == 9
    assert ann.close()["ok"]


def is_told_that_it_is_busy(outcome: dict[str, Any], throttle: Throttle) -> None:
    assert not throttle.next
    # A client may try again by itself.
    assert outcome["ok"] or "busy" in outcome["error"], outcome
    assert outcome["seconds"] < SOON_S


def test_the_end_of_the_session_ends_a_wait_and_refuses_what_comes_then(ann: Driven, talk: Talk) -> None:
    ann.starts_to_wait(talk)
    talk.close()
    ended = ann.outcome()
    assert not ended["ok"]
    refused = ann.tried("coral_create_thread", threadName="late", participantNames=["bob"])
    assert not refused["ok"]
    assert refused["seconds"] < SOON_S, refused
    assert ann.close()["seconds"] < SOON_S


def test_closing_the_session_is_reported_as_done(ann: Driven, talk: Talk) -> None:
    """Some clients list the tools after a call, to check its answer by the tool's schema."""
    assert ann.call("coral_close_session", reason="seen enough") == {"message": "The session is closing"}
    assert talk.api.status(talk.path) in ("closing", None)
    assert ann.close()["seconds"] < SOON_S
