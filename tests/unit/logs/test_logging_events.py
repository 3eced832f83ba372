"""Lines of a log as Coral writes them, and which of them somebody asked for."""

import json
from typing import Any

import pytest

from chalicelib.wire.logs import ErrorEvent, InfoEvent, LogFilter, ProxyRequestTag, SensitiveTag, tags_of

AT_MS = 1_795_642_627_079


def written(event: Any) -> str:
    return str(event.model_dump_json(by_alias=True, exclude_none=True))


def test_a_line_is_written_as_coral_writes_it() -> None:
    tags = tags_of("first", "4d34", "asker", "out")
    assert written(InfoEvent(timestamp=AT_MS, text="asker is ready", tags=tags)) == json.dumps(
        {
            "type": "info",
            "timestamp": "2026-11-25T21:37:07.079Z",
            "text": "asker is ready",
            "tags": [
                {"type": "namespace", "namespace": "first", "mdcMap": {"ns": "first"}},
                {"type": "session", "sessionId": "4d34", "mdcMap": {"sid": "4d34"}},
                {"type": "agent", "name": "asker", "mdcMap": {"agent": "asker"}},
                {"type": "stdout", "io": "out", "mdcMap": {"io": "stdout"}},
            ],
        },
        separators=(",", ":"),
    )


@pytest.mark.parametrize(
    ("tag", "wire"),
    [
        (tags_of("n", "s", "a", "error")[-1], {"type": "stdout", "io": "error", "mdcMap": {"io": "stderr"}}),
        (
            ProxyRequestTag(proxy_number=1),
            {"type": "proxy_request", "proxyNumber": 1, "mdcMap": {"pnum": "1"}},
        ),
        (SensitiveTag(), {"type": "sensitive"}),
    ],
)
def test_each_tag_says_what_coral_puts_into_its_context(tag: Any, wire: dict[str, Any]) -> None:
    assert tag.to_wire() == wire


def test_an_error_always_has_a_stack_trace() -> None:
    assert ErrorEvent(timestamp=AT_MS, text="t", tags=[]).to_wire()["exceptionStackTrace"] == []


LINE = InfoEvent(timestamp=AT_MS, text="t", tags=tags_of("n", "s", "a", "out"))
OF_SESSION = InfoEvent(timestamp=AT_MS, text="t", tags=tags_of("n", "s"))


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"namespace": "n"},
        {"session": "s"},
        {"agent": "a"},
        {"namespace": "n", "session": "s", "agent": "a"},
    ],
)
def test_a_line_passes_that_has_every_tag(wanted: dict[str, Any]) -> None:
    assert LogFilter(**wanted).passes(LINE)


@pytest.mark.parametrize(
    "wanted", [{"namespace": "N"}, {"session": "a"}, {"agent": ""}, {"session": "s", "agent": "b"}]
)
def test_a_line_does_not_pass_with_another_value(wanted: dict[str, Any]) -> None:
    assert not LogFilter(**wanted).passes(LINE)


def test_a_line_without_the_tag_does_not_pass() -> None:
    assert LogFilter(session="s").passes(OF_SESSION)
    assert not LogFilter(session="s", agent="a").passes(OF_SESSION)


def test_sensitive_lines_must_be_asked_for() -> None:
    line = InfoEvent(timestamp=AT_MS, text="t", tags=[*tags_of("n", "s"), SensitiveTag()])
    assert not LogFilter(session="s").passes(line)
    assert LogFilter(session="s", allow_sensitive=True).passes(line)
