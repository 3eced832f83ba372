"""What is archived of agents' lines: bounded, in order, and in a bounded time, whatever becomes of their logs."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError

from chalicelib.reactions import last_lines
from chalicelib.store.agents import AgentRecord
from chalicelib.wire.logs import InfoEvent, LoggingEvent, tags_of

ENDED_MS = 1_800_000_000_000

Printed = dict[str, Callable[[], list[LoggingEvent] | None]]


class Logs:
    """The lines of a session by its agents' names, and the clock of who reads them."""

    def __init__(self, printed: Printed, takes_ms: int = 0) -> None:
        self.printed = printed
        self.takes_ms = takes_ms
        self.now = 0
        self.read: list[str] = []

    def now_ms(self) -> int:
        return self.now

    def last(self, _: str, __: str, limit: int) -> Callable[[Any], list[LoggingEvent] | None]:
        def read(agent: Any) -> list[LoggingEvent] | None:
            self.now += self.takes_ms
            self.read.append(agent.name)
            lines = self.printed[agent.name]()
            return lines and lines[-limit:]

        return read


def line(agent: str, at_ms: int, text: str) -> InfoEvent:
    """Return a line that an agent printed."""
    return InfoEvent(timestamp=at_ms, text=text, tags=tags_of("n", "s", agent, "out"))


def kept(logs: Logs) -> list[tuple[str, str, str]]:
    """Return agent, kind and text of the lines that are kept of a session."""
    agents: list[AgentRecord] = [SimpleNamespace(name=name) for name in logs.printed]  # type: ignore[misc]
    services: Any = SimpleNamespace(clock=logs, session_logs=logs)
    session: Any = SimpleNamespace(namespace="n", session_id="s")
    found = map(json.loads, last_lines.of_session(services, session, agents, ended_at_ms=ENDED_MS))
    return [
        (tag["name"], each["type"], each["text"]) for each in found for tag in each["tags"] if tag["type"] == "agent"
    ]


def failing(error: Exception) -> Callable[[], list[LoggingEvent]]:
    """Return what fails."""

    def fail() -> list[LoggingEvent]:
        raise error

    return fail


def test_lines_of_all_agents_are_in_the_order_of_their_times_and_an_agents_own_stay() -> None:
    ann: list[LoggingEvent] = [
        line("ann", at_ms, text) for at_ms, text in ((1, "one"), (3, "three"), (2, "after three"))
    ]
    logs = Logs({"ann": lambda: ann, "bob": lambda: [line("bob", 2, "two")], "cat": list})
    assert kept(logs) == [
        ("ann", "info", "one"),
        ("bob", "info", "two"),
        ("ann", "info", "three"),
        ("ann", "info", "after three"),
    ]


def test_nobody_has_printed() -> None:
    assert kept(Logs({"ann": list})) == []


@pytest.mark.parametrize("more", [0, 1, 500])
def test_so_many_of_the_last_lines_are_kept_and_it_is_said_that_there_were_others(more: int) -> None:
    count = last_lines.AGENT_LINES + more
    found = kept(Logs({"ann": lambda: [line("ann", number, str(number)) for number in range(count)]}))
    said = [("ann", "warning", f"lines of this agent are not archived: {last_lines._OLDER}")] if more else []
    assert found == said + [("ann", "info", str(number)) for number in range(more, count)]


def test_so_many_bytes_of_an_agent_are_kept() -> None:
    long = "x" * 16_000
    found = kept(Logs({"ann": lambda: [line("ann", number, f"{number}{long}") for number in range(10)]}))
    assert [text[0] for _, kind, text in found if kind == "info"] == ["6", "7", "8", "9"]
    assert found[0][1] == "warning"


def test_so_many_bytes_of_a_session_are_kept_of_each_agent_an_equal_part() -> None:
    printed: Printed = {
        f"a{number}": lambda number=number: [  # type: ignore[misc]
            line(f"a{number}", at_ms, "x" * 8_000) for at_ms in range(100)
        ]
        for number in range(128)
    }
    found = kept(Logs(printed))
    size = sum(len(text) for _, kind, text in found if kind == "info")
    assert last_lines.SESSION_BYTES // 3 < size < last_lines.SESSION_BYTES
    assert {name for name, kind, _ in found if kind == "info"} == set(printed)


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (ClientError({"Error": {"Code": "ThrottlingException", "Message": "of 123456789012"}}, "X"), "Throttling"),
        (ReadTimeoutError(endpoint_url="https://logs"), "ReadTimeoutError"),
    ],
)
def test_logs_that_fail_are_said_to_be_missing_and_hide_no_others(error: Exception, named: str) -> None:
    found = kept(Logs({"ann": failing(error), "bob": lambda: [line("bob", 1, "one")]}))
    assert found[0] == ("bob", "info", "one")
    [(agent, kind, text)] = found[1:]
    assert (agent, kind) == ("ann", "warning")
    assert named in text
    assert "123456789012" not in text


def test_what_is_no_error_of_aws_is_raised() -> None:
    with pytest.raises(ValueError, match="wrong"):
        kept(Logs({"ann": failing(ValueError("wrong"))}))


def test_lines_whose_secrets_are_not_known_are_missing() -> None:
    [(agent, kind, text)] = kept(Logs({"ann": lambda: None}))
    assert (agent, kind) == ("ann", "warning")
    assert "secrets" in text


def test_slow_logs_are_given_up() -> None:
    names = [f"a{number}" for number in range(128)]
    logs = Logs(dict.fromkeys(names, list), takes_ms=last_lines.READING_MS // 3 + 1)
    found = kept(logs)
    assert logs.read == names[:3]
    assert sorted(name for name, _, _ in found) == sorted(names[3:])
    assert {text for _, _, text in found} == {f"lines of this agent are not archived: {last_lines._LATE}"}
