"""What agents print on AWS is pushed to those who follow it: whose lines, to whom, and at which cost."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from chalicelib import services
from chalicelib.aws.connections import ManagedConnections
from chalicelib.aws.tasks import TaskState
from chalicelib.clock import Clock
from chalicelib.domain.options import ResolvedOption, ResolvedOptions
from chalicelib.reactions import log_lines
from chalicelib.services import Services
from chalicelib.settings import Settings
from chalicelib.store.agents import AgentRecord
from chalicelib.workers import subscriptions
from chalicelib.workers.log_lines import on_log_lines
from tests import memory
from tests.log_batches import event_of

#: A time in 2023 (epoch ms).
THEN_MS = 1_700_000_000_000


class Stage:
    """Services of which those that are read count how often, and a fake of API Gateway's management of connections."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.wanted: dict[str, dict[str, Any]] = {}
        self.started_by = {"one": "s/0", "two": "s/1", "other": "by-hand", "late": "gone/0"}
        secret = ResolvedOption(type="string", value="hunter22", transport="env", base64=False, secret=True)
        self.options: str | bytes | None = ResolvedOptions({"TOKEN": secret}).to_json()
        self.sent: dict[str, list[dict[str, Any]]] = {}
        self.gone: set[str] = set()
        self.error: Exception | None = None

    # Followers.

    def of_topic(self, topic: str) -> list[tuple[str, dict[str, Any]]]:
        self.calls.append(f"followers of {topic}")
        return list(self.wanted.items())

    def remove(self, topic: str, connection_id: str) -> None:
        assert topic == "logs"
        del self.wanted[connection_id]

    # Tasks.

    def described(self, tasks: list[str]) -> list[TaskState]:
        self.calls.append("tasks")
        if self.error:
            raise self.error
        times: dict[str, Any] = dict.fromkeys(("created_at_ms", "started_at_ms", "stopped_at_ms"))
        return [
            TaskState(arn=task, started_by=self.started_by[task], stopped=False, reason="", **times)
            for task in tasks
            if task in self.started_by
        ]

    # Agents.

    def of_session(self, session_id: str) -> list[AgentRecord]:
        self.calls.append("agents")
        return [
            AgentRecord(
                session_id="s",
                namespace="n",
                name=name,
                position=position,
                registry_agent_identifier={"name": "echo", "version": "1.0.0"},
                runtime="docker",
                expires_at=1 << 40,
                has_options=True,
            )
            for position, name in enumerate(("a", "b"))
            if session_id == "s"
        ]

    def find(self, session_id: str, name: str) -> AgentRecord | None:
        return next((agent for agent in self.of_session(session_id) if agent.name == name), None)

    def options_of(self, session_id: str, name: str) -> str | bytes | None:
        self.calls.append("options")
        return self.options

    # API Gateway's management of connections.

    def post_to_connection(self, **call: Any) -> None:
        if call["ConnectionId"] in self.gone:
            raise refused("ForbiddenException")
        self.sent.setdefault(call["ConnectionId"], []).append(json.loads(call["Data"]))

    def delete_connection(self, **_: Any) -> None:
        pass

    # What tests do.

    def follow(self, connection_id: str, *reach: str, **wanted: str) -> None:
        self.wanted[connection_id] = {"reach": list(reach or "*"), "limit": 0, "allowSensitive": False, **wanted}

    def texts(self) -> dict[str, list[str]]:
        return {connection: [frame["text"] for frame in frames] for connection, frames in self.sent.items()}


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": ""}}, "Any")


@pytest.fixture
def stage() -> Iterator[Stage]:
    """What the functions of this process serve."""
    made: Any = Stage()
    here = Services(Settings(stage="test"))
    here.followers = here.tasks = here.agents = made
    here.connections = ManagedConnections(made, Clock())
    services.use(here)
    yield made
    services.use(None)


def say(*texts: str, task: str = "one") -> None:
    """Let a task print lines."""
    lines = ((THEN_MS + number, text) for number, text in enumerate(texts))
    on_log_lines(event_of(*lines, stream=f"echo/1.0.0/agent/{task}"), None)


def test_a_line_has_corals_shape_with_its_secrets_hidden(stage: Stage) -> None:
    stage.follow("c")
    say("the token is hunter22\n")
    [frame] = stage.sent["c"]
    assert frame == {
        "type": "info",
        "timestamp": "2023-11-14T22:13:20.000Z",
        "text": "the token is ***",
        "tags": [
            {"type": "namespace", "namespace": "n", "mdcMap": {"ns": "n"}},
            {"type": "session", "sessionId": "s", "mdcMap": {"sid": "s"}},
            {"type": "agent", "name": "a", "mdcMap": {"agent": "a"}},
            {"type": "stdout", "io": "out", "mdcMap": {"io": "stdout"}},
        ],
    }


def test_each_gets_what_it_wants_and_its_key_reaches(stage: Stage) -> None:
    stage.follow("all")
    stage.follow("reaches", "n*")
    stage.follow("does not reach", "m")
    stage.follow("its agent", namespace="n", session="s", agent="a")
    stage.follow("the other agent", agent="b")
    stage.follow("another session", session="t")
    say("x", "y")
    assert stage.texts() == {each: ["x", "y"] for each in ("all", "reaches", "its agent")}


def test_while_nobody_follows_a_batch_costs_one_query(stage: Stage) -> None:
    say("x")
    assert stage.calls == ["followers of logs"]


def test_lines_that_nobody_wants_read_no_secrets(stage: Stage) -> None:
    stage.follow("c", namespace="another")
    say("x")
    assert stage.calls == ["followers of logs", "tasks", "agents"]


def test_an_agent_that_is_known_is_not_asked_for_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.follow("c")
    say("x")
    say("y")
    assert stage.calls == ["followers of logs", "tasks", "agents", "options", "followers of logs"]
    monkeypatch.setattr(log_lines, "MOST_AGENTS", 1)
    say("z", task="two")
    assert list(services.current().printing) == ["echo/1.0.0/agent/two"], "the older one is forgotten"
    assert stage.texts() == {"c": ["x", "y", "z"]}


@pytest.mark.parametrize("task", ["other", "late", "unknown"])
def test_of_tasks_of_others_and_of_agents_that_are_gone_nothing_is_shown(stage: Stage, task: str) -> None:
    stage.follow("c")
    say("x", task=task)
    assert stage.sent == {}


@pytest.mark.parametrize("stream", ["echo/1.0.0/options/one", "one"])
def test_streams_that_are_no_agents_are_passed_over(stage: Stage, stream: str) -> None:
    stage.follow("c")
    on_log_lines(event_of((THEN_MS, "x"), stream=stream), None)
    assert stage.calls == ["followers of logs"]


def test_nothing_is_shown_while_it_is_not_known_what_is_secret(stage: Stage) -> None:
    stage.follow("c")
    known, stage.options = stage.options, None
    say("hunter22")
    stage.options = known
    say("hunter22 again")
    assert stage.texts() == {"c": ["*** again"]}


def test_a_follower_that_takes_no_more_is_forgotten_and_others_get_theirs(stage: Stage) -> None:
    stage.follow("gone")
    stage.follow("there")
    stage.gone.add("gone")
    say("x")
    assert list(stage.wanted) == ["there"]
    assert stage.texts() == {"there": ["x"]}


def test_of_a_large_batch_the_latest_lines_are_pushed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "MOST_LINES", 2)
    stage.follow("c")
    say("x", "y", "z")
    assert stage.texts() == {"c": ["y", "z"]}


def test_what_aws_refuses_is_left_and_a_mistake_is_not_hidden(stage: Stage) -> None:
    stage.follow("c")
    stage.error = refused("ThrottlingException")
    say("x")
    stage.error = LookupError("a mistake")
    with pytest.raises(LookupError):
        say("x")
    assert stage.sent == {}


def test_a_message_that_checks_whether_the_function_is_there_is_no_line(stage: Stage) -> None:
    on_log_lines(event_of((0, "CWL CONTROL MESSAGE: Checking health of destination"), kind="CONTROL_MESSAGE"), None)
    assert stage.calls == []


def test_a_batch_is_not_unpacked_beyond_its_bound(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriptions, "MOST_BYTES", 100_000)
    event = event_of((0, "x" * 5_000_000))
    with memory.tracing() as peak_bytes, pytest.raises(ValueError, match="100000"):
        on_log_lines(event, None)
    assert peak_bytes() < 1_000_000
