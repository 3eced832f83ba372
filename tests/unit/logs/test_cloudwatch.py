"""Reading the agents' lines of a session from CloudWatch: in order, from a cursor on, nothing twice."""

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from chalicelib.api.paging import LinePaging
from chalicelib.aws.session_logs import LAST_PAGES, LATE_MS, CloudWatchLogs, Hide
from chalicelib.aws.tasks import log_stream
from chalicelib.clock import Clock
from chalicelib.reactions import archive, last_lines
from chalicelib.services import Services
from chalicelib.settings import Settings
from chalicelib.store.agents import AgentRecord

GROUP = "/atoll/prod/agents"
NOW_MS = int(time.time() * 1000)


class StillClock(Clock):
    """A clock that a test sets."""

    now = NOW_MS

    def now_ms(self) -> int:
        return self.now


class Graph:
    """The agents of one session, as the store has them."""

    def __init__(self) -> None:
        self.records: dict[str, AgentRecord] = {}

    def of_session(self, _: str) -> list[AgentRecord]:
        return list(self.records.values())

    def find(self, _: str, name: str) -> AgentRecord | None:
        return self.records.get(name)


@dataclasses.dataclass
class Stage:
    """A log group on moto, and what reads it."""

    client: Any
    graph: Graph
    clock: StillClock
    secrets: dict[str, Hide | None]
    logs: CloudWatchLogs

    def agent(self, name: str, *, printed: bool = True) -> None:
        """Start an agent; its stream is there once it has printed."""
        record = AgentRecord(
            session_id="s",
            namespace="n",
            name=name,
            position=len(self.graph.records),
            registry_agent_identifier={"name": "echo", "version": "1.0.0"},
            runtime="docker",
            expires_at=1 << 40,
            created_at_ms=NOW_MS - 3_600_000,
            task_arn=f"arn:aws:ecs:eu-west-1:123456789012:task/atoll-prod/{name}",
        )
        self.graph.records[name] = record
        if printed:
            self.client.create_log_stream(logGroupName=GROUP, logStreamName=self.stream(name))

    def stream(self, name: str) -> str:
        return log_stream("echo", "1.0.0", self.graph.records[name].task_arn or "")

    def say(self, name: str, *lines: tuple[int, str]) -> None:
        """Write lines, each with how many ms ago it was written."""
        events = [{"timestamp": self.clock.now - ago_ms, "message": text} for ago_ms, text in lines]
        self.client.put_log_events(logGroupName=GROUP, logStreamName=self.stream(name), logEvents=events)

    def read(self, after: str = "0", limit: int = 1_000, agent: str | None = None) -> tuple[list[str], str]:
        """Read a page; return its texts and its cursor."""
        texts: list[str] = []
        for cursor, event in self.logs.read("n", "s", agent, after):
            after = cursor
            if event is not None:
                texts.append(event.text)
                if len(texts) == limit:
                    break
        return texts, after


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a")
    with mock_aws():
        client = boto3.client("logs", region_name="eu-west-1")
        client.create_log_group(logGroupName=GROUP)
        _refuse_missing_streams(client)
        graph, clock, secrets = Graph(), StillClock(), dict[str, Hide | None]()
        hide = lambda _, name: secrets.get(name, str)  # noqa: E731
        logs = CloudWatchLogs(client, Settings(stage="prod"), clock, graph, hide)  # type: ignore[arg-type]
        yield Stage(client, graph, clock, secrets, logs)


def _refuse_missing_streams(client: Any) -> None:
    """Answer as CloudWatch does: moto leaves streams out that are not there, and takes any number of them."""

    def check(params: dict[str, Any], **_: Any) -> None:
        pages = client.get_paginator("describe_log_streams").paginate(logGroupName=GROUP)
        there = {found["logStreamName"] for page in pages for found in page["logStreams"]}
        if not there.issuperset(params.get("logStreamNames", [])):
            message = "The specified log stream does not exist."
            error = {"Error": {"Code": "ResourceNotFoundException", "Message": message}}
            raise ClientError(error, "FilterLogEvents")  # type: ignore[arg-type]
        assert len(params["logStreamNames"]) <= 100

    client.meta.events.register("provide-client-params.cloudwatch-logs.FilterLogEvents", check)


def test_lines_of_all_agents_come_in_order_with_their_tags(stage: Stage) -> None:
    stage.agent("ann")
    stage.agent("bob")
    stage.say("ann", (3_000, "one\n"), (1_000, "three"))
    stage.say("bob", (2_000, "two"))
    assert stage.read()[0] == ["one", "two", "three"]
    assert stage.read(agent="bob")[0] == ["two"]
    [(_, line)] = [found for found in stage.logs.read("n", "s", "bob", "0") if found[1]]
    assert line is not None
    assert [tag.to_wire().get("mdcMap") for tag in line.tags] == [
        {"ns": "n"},
        {"sid": "s"},
        {"agent": "bob"},
        {"io": "stdout"},
    ]


def test_an_agent_that_has_printed_nothing_does_not_hide_the_others(stage: Stage) -> None:
    stage.agent("ann")
    stage.agent("silent", printed=False)
    stage.say("ann", (1_000, "one"))
    assert stage.read()[0] == ["one"]


def test_nobody_has_printed(stage: Stage) -> None:
    assert stage.read()[0] == []
    stage.agent("silent", printed=False)
    assert stage.read()[0] == []


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
@pytest.mark.parametrize("step_ms", [0, 1, 400, 20_000])
def test_pages_of_any_size_give_each_line_once(stage: Stage, limit: int, step_ms: int) -> None:
    """Also where many lines are of one millisecond, and whether they are settled or not."""
    for name in ("ann", "bob"):
        stage.agent(name)
        stage.say(name, *((step_ms * (10 - number), f"{name} {number}") for number in range(10)))
    found: list[str] = []
    cursor = "0"
    while page := stage.read(cursor, limit):
        texts, cursor = page
        if not texts:
            break
        found += texts
    assert sorted(found) == sorted(f"{name} {number}" for name in ("ann", "bob") for number in range(10))
    for name in ("ann", "bob"):
        own = [text for text in found if text.startswith(name)]
        assert own == [f"{name} {number}" for number in range(10)]


def test_what_is_seen_late_is_not_missed(stage: Stage) -> None:
    stage.agent("ann")
    stage.agent("bob")
    stage.say("ann", (100, "quick"))
    texts, cursor = stage.read()
    stage.say("bob", (LATE_MS - 1_000, "late"))
    stage.say("ann", (100, "of the same millisecond"))
    assert texts == ["quick"]
    texts, cursor = stage.read(cursor)
    assert texts == ["late", "of the same millisecond"]
    assert stage.read(cursor)[0] == []


def test_who_follows_does_not_read_all_of_it_again(stage: Stage) -> None:
    stage.agent("ann")
    stage.agent("bob")
    stage.say("ann", (60_000, "long ago"))
    stage.say("bob", *((30_000 - number, str(number)) for number in range(100)))
    _, cursor = stage.read()
    asked: list[int] = []
    stage.client.meta.events.register(
        "provide-client-params.cloudwatch-logs.FilterLogEvents", lambda params, **_: asked.append(params["startTime"])
    )
    assert stage.read(cursor)[0] == []
    assert asked == [NOW_MS - LATE_MS]
    assert cursor == str(NOW_MS - LATE_MS)


def test_a_cursor_is_one_that_the_api_takes(stage: Stage) -> None:
    for number in range(128):
        stage.agent(f"a{number}")
        stage.say(f"a{number}", (1, "x"), (1, "y"))
    texts, cursor = stage.read()
    assert len(texts) == 256
    assert LinePaging.opened(LinePaging, cursor) == cursor  # type: ignore[arg-type]
    assert len(cursor) < 2_000
    assert stage.read(cursor) == ([], cursor)


def test_secrets_are_hidden_and_an_agent_whose_secrets_are_gone_is_not_shown(stage: Stage) -> None:
    stage.agent("ann")
    stage.agent("bob")
    stage.secrets["ann"] = lambda line: line.replace("hunter22", "***")
    stage.secrets["bob"] = None
    stage.say("ann", (2, "it is hunter22"))
    stage.say("bob", (1, "it is hunter22"))
    assert stage.read()[0] == ["it is ***"]


def test_an_error_of_cloudwatch_is_raised(stage: Stage) -> None:
    stage.agent("ann")
    stage.client.delete_log_group(logGroupName=GROUP)
    with pytest.raises(ClientError):
        stage.read()


def last(stage: Stage, name: str, limit: int = 3) -> list[str] | None:
    """Read the last lines of an agent."""
    found = stage.logs.last("n", "s", limit)(stage.graph.records[name])
    return None if found is None else [line.text for line in found]


def test_the_last_lines_of_an_agent_are_read_with_secrets_hidden(stage: Stage) -> None:
    stage.agent("ann")
    stage.agent("bob")
    stage.secrets["ann"] = lambda line: line.replace("hunter22", "***")
    stage.say("ann", *((10 - number, f"{number} hunter22\n") for number in range(5)))
    stage.say("bob", (1, "one"))
    assert last(stage, "ann") == ["2 ***", "3 ***", "4 ***"]
    assert last(stage, "bob") == ["one"]


def test_who_has_printed_nothing_has_no_last_lines(stage: Stage) -> None:
    stage.agent("ann")
    stage.agent("silent", printed=False)
    stage.agent("waiting", printed=False)
    stage.graph.records["waiting"] = dataclasses.replace(stage.graph.records["waiting"], task_arn=None)
    assert [last(stage, name) for name in ("ann", "silent", "waiting")] == [[], [], []]


def test_last_lines_whose_secrets_are_not_known_are_not_shown(stage: Stage) -> None:
    stage.agent("ann")
    stage.secrets["ann"] = None
    assert last(stage, "ann") == []
    stage.say("ann", (1, "hunter22"))
    assert last(stage, "ann") is None


@pytest.mark.parametrize(("empty", "found"), [(LAST_PAGES - 1, ["one"]), (LAST_PAGES, [])])
def test_a_page_of_last_lines_may_be_empty_a_few_times(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, empty: int, found: list[str]
) -> None:
    stage.agent("ann")
    event = {"timestamp": NOW_MS, "message": "one"}
    asked: list[Any] = []

    def page(**parameters: Any) -> dict[str, Any]:
        asked.append(parameters.get("nextToken"))
        return {"events": [event] if len(asked) > empty else [], "nextBackwardToken": f"b/{len(asked)}"}

    monkeypatch.setattr(stage.client, "get_log_events", page)
    assert last(stage, "ann") == found
    assert asked == [None, "b/1", "b/2"]


def test_an_error_of_the_last_lines_is_raised(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.agent("ann")

    def refuse(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "ThrottlingException"}}, "GetLogEvents")

    monkeypatch.setattr(stage.client, "get_log_events", refuse)
    with pytest.raises(ClientError):
        last(stage, "ann")


def test_logs_that_do_not_answer_hold_up_a_call_for_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What archives a session ends within its function's time, whatever becomes of CloudWatch."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    config = Services(Settings(stage="prod")).session_logs._client.meta.config  # type: ignore[attr-defined]
    call_s = config.retries["total_max_attempts"] * (config.connect_timeout + config.read_timeout)
    assert call_s == 30
    assert archive.SLICE_MS + last_lines.READING_MS + call_s * 1_000 < 300_000 / 2
