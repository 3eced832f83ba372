"""The example agents as processes, started as their `coral-agent.toml` says, against a stand-in session."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.agents.stand_in import StandIn, iso, serving

AGENTS = Path(__file__).parents[3] / "agents"
DEADLINE_S = 20


class Agent:
    """A running agent process, its output read as it comes."""

    def __init__(self, kind: str, url: str, name: str, options: dict[str, str]) -> None:
        folder = AGENTS / kind
        runtime = tomllib.loads((folder / "coral-agent.toml").read_text())["runtimes"]["executable"]
        bin_first = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [runtime["path"], *runtime["arguments"]],
            cwd=folder,
            env={"PATH": bin_first, "CORAL_CONNECTION_URL": url, "CORAL_AGENT_ID": name, **options},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self.lines.extend(line.rstrip() for line in iter(self.process.stdout.readline, ""))

    def exit_status(self) -> int:
        """The exit status, waited for."""
        status = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        return status

    def end(self) -> None:
        """Make sure that nothing of it is left."""
        self.process.kill()
        self.process.wait()
        self._reader.join(DEADLINE_S)
        assert self.process.stdout
        self.process.stdout.close()


Start = Callable[..., Agent]


@pytest.fixture
def session() -> Iterator[StandIn]:
    with serving() as stand_in:
        yield stand_in


@pytest.fixture
def start(session: StandIn) -> Iterator[Start]:
    started: list[Agent] = []

    def start_agent(kind: str, name: str | None = None, **options: str) -> Agent:
        agent = Agent(kind, session.connection_url(name or kind), name or kind, options)
        started.append(agent)
        return agent

    yield start_agent
    for agent in started:
        agent.end()


def until(condition: Callable[[], Any], what: str) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_seed_makes_its_threads_and_messages_and_exits(session: StandIn, start: Start) -> None:
    seed = start("seed", SEED_THREAD_COUNT="2", SEED_MESSAGE_COUNT="3", PARTICIPANTS="a,b", MENTIONS="a")

    assert seed.exit_status() == 0
    assert [(thread["name"], thread["participants"]) for thread in session.threads] == [
        ("thread 0", ["a", "b", "seed"]),
        ("thread 1", ["a", "b", "seed"]),
    ]
    sent = [(message["threadId"], message["text"], message["mentionNames"]) for message in session.messages]
    assert sent == [(f"t{thread}", f"message {message}", ["a"]) for thread in range(2) for message in range(3)]


def test_an_agent_asks_again_when_it_is_refused_for_now(session: StandIn, start: Start) -> None:
    session.busy = [503, 429]
    seed = start("seed", SEED_MESSAGE_COUNT="1")
    until(lambda: not session.busy, "it does not ask again")
    session.busy = [503]

    assert seed.exit_status() == 0
    assert [message["text"] for message in session.messages] == ["message 0"]


def test_seed_without_options_makes_one_empty_thread(session: StandIn, start: Start) -> None:
    assert start("seed").exit_status() == 0
    assert [thread["participants"] for thread in session.threads] == [["seed"]]
    assert session.messages == []


def test_operation_delay_passes_between_the_operations(session: StandIn, start: Start) -> None:
    assert start("seed", SEED_MESSAGE_COUNT="3", OPERATION_DELAY="200").exit_status() == 0
    stamps_ms = [
        int(message["timestamp"][17:19]) * 1000 + int(message["timestamp"][20:23]) for message in session.messages
    ]
    assert all((later - earlier) % 60_000 >= 200 for earlier, later in itertools.pairwise(stamps_ms))


def test_a_refused_call_fails_seed_with_the_reason(session: StandIn, start: Start) -> None:
    seed = start("seed", SEED_MESSAGE_COUNT="1", MENTIONS="nobody")
    assert seed.exit_status() == 1
    assert "not in the thread: nobody" in seed.lines[-1]


def test_echo_answers_each_message_once_and_exits(session: StandIn, start: Start) -> None:
    thread = session.add_thread("seed", "thread 0", ["echo"])
    session.send("seed", thread["id"], "sent before echo was up", [])
    echo = start("echo", ITERATION_COUNT="3")
    until(lambda: len(session.sent_by("echo")) == 1, "no answer to the message of before")
    session.send("seed", thread["id"], "one more", [])
    session.send("seed", thread["id"], "and another", [])

    assert echo.exit_status() == 0
    assert [(answer["text"], answer["mentionNames"]) for answer in session.sent_by("echo")] == [
        ("nice message!", ["seed"])
    ] * 3
    answered = [line for line in echo.lines if line.startswith("answered")]
    assert answered == [
        "answered seed: sent before echo was up",
        "answered seed: one more",
        "answered seed: and another",
    ]


def test_echo_answers_in_the_thread_of_the_message(session: StandIn, start: Start) -> None:
    threads = [session.add_thread("seed", f"thread {number}", ["echo"])["id"] for number in range(3)]
    for number, thread in enumerate(threads):
        session.send("seed", thread, "hello", [], stamp_ms=1_000 + number)
    assert start("echo", ITERATION_COUNT="3").exit_status() == 0
    assert [answer["threadId"] for answer in session.sent_by("echo")] == threads


def test_echo_goes_through_the_past_of_a_thread_that_comes_up_late(session: StandIn, start: Start) -> None:
    new = session.add_thread("seed", "new", ["echo"])
    session.send("seed", new["id"], "new", [], stamp_ms=9_000)
    echo = start("echo", ITERATION_COUNT="4")
    until(lambda: session.calls_of("echo").count("coral_wait_for_message") == 2, "it does not wait for more")
    old = session.add_thread("seed", "old", [])
    for number in range(3):
        session.send("seed", old["id"], f"old {number}", [], stamp_ms=1_000 + number * 1_000)
    session.hand_over(old, "echo")

    assert echo.exit_status() == 0
    assert [line.partition(": ")[2] for line in echo.lines if line.startswith("answered")] == [
        "new",
        "old 0",
        "old 1",
        "old 2",
    ]


def test_echo_waits_again_when_a_wait_times_out(session: StandIn, start: Start) -> None:
    thread = session.add_thread("seed", "thread 0", ["echo"])["id"]
    session.wait_limit_ms = 50
    echo = start("echo", ITERATION_COUNT="1")
    until(lambda: session.calls_of("echo").count("coral_wait_for_message") >= 3, "it did not wait again")
    session.send("seed", thread, "at last", [])
    assert echo.exit_status() == 0


@pytest.mark.parametrize(
    ("options", "tool"),
    [
        ({}, "coral_wait_for_message"),
        ({"MENTIONS": "1"}, "coral_wait_for_mention"),
        ({"FROM_AGENT": "b"}, "coral_wait_for_agent"),
        ({"FROM_AGENT": "b", "MENTIONS": "1"}, "coral_wait_for_agent"),
    ],
)
def test_echo_answers_only_what_its_filters_let_through(
    session: StandIn, start: Start, options: dict[str, str], tool: str
) -> None:
    thread = session.add_thread("a", "thread 0", ["b", "echo"])["id"]
    said = [("a", []), ("a", ["echo"]), ("b", []), ("b", ["echo"])]
    for number, (sender, mentions) in enumerate(said):
        session.send(sender, thread, f"{sender}{' mentions' if mentions else ''}", mentions, stamp_ms=1_000 + number)
    wanted = [
        text
        for text in ("a", "a mentions", "b", "b mentions")
        if ("FROM_AGENT" not in options or text.startswith("b"))
        and (options.get("MENTIONS") != "1" or text.endswith("mentions"))
    ]
    echo = start("echo", ITERATION_COUNT=str(len(wanted)), **options)

    assert echo.exit_status() == 0
    assert [line.partition(": ")[2] for line in echo.lines if line.startswith("answered")] == wanted
    assert set(session.calls_of("echo")) == {tool, "coral_send_message"}


def test_echo_goes_on_when_an_answer_is_refused(session: StandIn, start: Start) -> None:
    thread = session.add_thread("seed", "thread 0", ["echo"])
    session.send("gone", thread["id"], "I am about to leave", [], stamp_ms=1_000)
    session.send("seed", thread["id"], "I stay", [], stamp_ms=2_000)
    echo = start("echo", ITERATION_COUNT="1")
    assert echo.exit_status() == 0
    assert [answer["mentionNames"] for answer in session.sent_by("echo")] == [["seed"]]


def test_tool_prints_the_result_of_its_one_call(session: StandIn, start: Start) -> None:
    call = {"threadName": "made by tool", "participantNames": ["a"]}
    tool = start("tool", TOOL_NAME="coral_create_thread", TOOL_INPUT=json.dumps(call))
    assert tool.exit_status() == 0
    assert json.loads(tool.lines[1])["thread"]["name"] == "made by tool"
    assert session.calls == [("tool", "coral_create_thread", call)]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("coral_send_message", '{"threadId": "t9", "content": "x", "mentions": []}', "no thread t9"),
        ("coral_no_such_tool", "{}", "coral_no_such_tool"),
        ("coral_create_thread", "{not json", "TOOL_INPUT is no JSON"),
        ("coral_create_thread", "[]", "TOOL_INPUT is no JSON object"),
    ],
)
def test_tool_fails_with_the_reason(session: StandIn, start: Start, name: str, text: str, reason: str) -> None:
    tool = start("tool", TOOL_NAME=name, TOOL_INPUT=text)
    assert tool.exit_status() == 1
    assert tool.lines[-1].startswith("refused: ")
    assert reason in tool.lines[-1]


def test_puppet_stays_until_it_is_ended_and_then_is_gone_at_once(session: StandIn, start: Start) -> None:
    puppet = start("puppet")
    until(lambda: "connected" in puppet.lines, "it did not connect")
    assert puppet.process.poll() is None
    began = time.monotonic()
    puppet.process.send_signal(signal.SIGTERM)
    assert puppet.exit_status() == 0
    assert time.monotonic() - began < 0.5
    assert session.calls == []


def test_socket_prints_its_environment_and_stays_until_it_is_ended(session: StandIn, start: Start) -> None:
    session.ended = True  # it does not ask
    agent = start("socket", name="ann", ENVIRONMENT_FORMAT="JETBRAINS", CORAL_AGENT_SECRET="s3cret", HOME="/root")
    until(lambda: agent.lines, "it prints nothing")
    url = session.connection_url("ann")
    assert agent.lines == [f"CORAL_CONNECTION_URL={url};CORAL_AGENT_ID=ann;CORAL_AGENT_SECRET=s3cret"]
    assert agent.process.poll() is None
    began = time.monotonic()
    agent.process.send_signal(signal.SIGTERM)
    assert agent.exit_status() == 0
    assert time.monotonic() - began < 0.5


@pytest.mark.parametrize(
    ("prompt", "printed"),
    [
        ("be kind", ";CORAL_PROMPT_SYSTEM=be kind"),
        ("a;b", r';CORAL_PROMPT_SYSTEM="a\;b"'),
        (r'"a\b"', r';CORAL_PROMPT_SYSTEM="\"a\\b\""'),
        ('{"a": 1}', ';CORAL_PROMPT_SYSTEM={"a": 1}'),
        ("two\nlines", ""),
    ],
)
def test_socket_quotes_what_would_end_a_value(session: StandIn, start: Start, prompt: str, printed: str) -> None:
    agent = start("socket", CORAL_PROMPT_SYSTEM=prompt)
    until(lambda: len(agent.lines) == (1 if printed else 2), "it prints nothing")
    assert agent.lines[0].endswith(f";CORAL_AGENT_ID=socket{printed}")
    assert agent.lines[1:] == ([] if printed else ["left out, having several lines: CORAL_PROMPT_SYSTEM"])


def test_a_copy_of_socket_prints_the_options_that_its_file_has(
    session: StandIn, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(AGENTS / "socket", tmp_path / "mine")
    with (copy / "coral-agent.toml").open("a") as file:
        file.write('[options.TOPIC]\ntype = "string"\n')
    monkeypatch.setattr(sys.modules[__name__], "AGENTS", tmp_path)
    agent = start("mine", TOPIC="tides", OTHER="x")
    until(lambda: agent.lines, "it prints nothing")
    assert agent.lines == [f"TOPIC=tides;CORAL_CONNECTION_URL={session.connection_url('mine')};CORAL_AGENT_ID=mine"]


@pytest.mark.parametrize("kind", ["echo", "puppet"])
def test_an_agent_whose_session_was_over_before_it_came_leaves_quietly(
    session: StandIn, start: Start, kind: str
) -> None:
    session.ended = True
    agent = start(kind)
    assert agent.exit_status() == 0
    assert agent.lines == ["the session has ended"]


def test_an_agent_whose_session_ends_under_it_leaves_quietly(session: StandIn, start: Start) -> None:
    session.wait_limit_ms = 100
    echo = start("echo")
    until(lambda: session.calls_of("echo"), "it did not wait")
    session.ended = True
    assert echo.exit_status() == 0
    assert echo.lines == ["connected", "the session has ended"]


def test_an_agent_without_a_server_says_so_without_a_traceback() -> None:
    agent = Agent("seed", "http://127.0.0.1:9/mcp/v1/secret-of-mine/mcp", "seed", {})
    assert agent.exit_status() == 1
    assert len(agent.lines) == 1
    assert agent.lines[0].startswith("lost the session: ")
    assert "secret-of-mine" not in agent.lines[0]


def test_start_delay_comes_before_connecting(session: StandIn, start: Start) -> None:
    began = time.monotonic()
    assert start("seed", START_DELAY="1500").exit_status() == 0
    assert time.monotonic() - began >= 1.5


def test_stamps_of_the_stand_in_read_as_corals_do() -> None:
    assert iso(1_795_365_587_715) == "2026-11-22T16:39:47.715Z"
