"""`atoll logs --stage`: what the agents of one session print, found by session and labelled by agent."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from atoll.command import program
from chalicelib.aws.tasks import log_stream
from infra import logs
from tests.client import session, sleeper
from tests.faults.platform import Emulator
from tests.faults.scenarios import begin, create

SESSION, OTHER = "7f0c6a4e-1", "7f0c6a4e-2"
LAUNCHES, AGENTS = "/aws/lambda/atoll-prod-run_agents", "/atoll/prod/agents"


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }.items():
        monkeypatch.setenv(name, value)
    with mock_aws():
        client = boto3.client("logs")
        for group in (LAUNCHES, AGENTS):
            client.create_log_group(logGroupName=group)
        client.create_log_stream(logGroupName=LAUNCHES, logStreamName="a function")
        yield client


def say(client: Any, group: str, stream: str, *lines: tuple[int, str]) -> None:
    """Write lines, each with how many seconds ago it was written."""
    now_ms = int(time.time() * 1000)
    events = [{"timestamp": now_ms - ago_s * 1000, "message": text} for ago_s, text in lines]
    client.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def started(
    client: Any, session_id: str, agent: str, task: str, *lines: tuple[int, str], version: str = "1.0.0"
) -> None:
    """Launch an agent, and let it print."""
    arn = f"arn:aws:ecs:eu-west-1:123456789012:task/atoll-prod/{task}"
    stream = log_stream("echo", version, arn)
    launch = {"message": "agent started", "session": session_id, "agent": agent, "task": arn, "stream": stream}
    say(client, LAUNCHES, "a function", (60, json.dumps(launch)))
    if lines:
        client.create_log_stream(logGroupName=AGENTS, logStreamName=stream)
        say(client, AGENTS, stream, *lines)


def shown(*arguments: str) -> tuple[int, list[str]]:
    """Return the exit code, and the output without its timestamps."""
    done = CliRunner().invoke(program.app, ["logs", *arguments, "--stage", "prod"])
    return done.exit_code, [re.sub(r"^\S+Z +", "", line).rstrip() for line in done.stdout.splitlines()]


def test_output_of_a_sessions_agents_is_merged_in_order(client: Any) -> None:
    started(client, SESSION, "ann", "t1", (50, "one\n"), (30, "three"))
    started(client, SESSION, "bob", "t2", (40, "two \x1b[2J[/not markup]"), version="1.0.0+b")
    started(client, SESSION, "silent", "t3")
    started(client, OTHER, "eve", "t4", (45, "of another session"))
    say(client, LAUNCHES, "a function", (20, f"REPORT {SESSION}"), (10, json.dumps({"session": SESSION})))
    assert shown(SESSION) == (0, ["ann │ one", "bob │ two [/not markup]", "ann │ three"])
    assert shown(SESSION, "--agent", "ann") == (0, ["ann │ one", "ann │ three"])


def test_it_goes_on_with_what_comes_next_and_says_nothing_twice(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    started(client, SESSION, "ann", "t1", (50, "one"))
    rounds = iter([lambda: say(client, AGENTS, "echo/1.0.0/agent/t1", (45, "two")), lambda: None])

    def pause(_: float) -> None:
        next(rounds, lambda: (_ for _ in ()).throw(KeyboardInterrupt))()

    monkeypatch.setattr(logs, "_pause", pause)
    assert shown(SESSION, "--follow") == (130, ["ann │ one", "ann │ two"])


@pytest.mark.parametrize(("stage", "said"), [("prod", "No agent of the session"), ("dev", "does not exist")])
def test_what_cannot_be_shown_is_said(client: Any, stage: str, said: str) -> None:
    done = CliRunner().invoke(program.app, ["logs", SESSION, "--stage", stage])
    assert done.exit_code == 1
    assert said in done.stderr


def test_a_launch_says_which_stream_it_writes(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "chalicelib")
    with Emulator() as emulator:
        world, witness = begin(emulator)
        create(world, witness, session(sleeper("ann")))
        world.run_for(5_000)
    [launch] = [record for record in caplog.records if record.message == "agent started"]
    [task] = world.ecs.running()
    assert vars(launch)["agent"] == "ann"
    assert vars(launch)["stream"] == f"sleeper/1.0.0/agent/{task.arn.rpartition('/')[2]}"
