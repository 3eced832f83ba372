"""The log of a session as a listing: what its agents print, and what Atoll says of it."""

import threading
import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest

from chalicelib.aws.tasks import log_stream
from chalicelib.reactions import last_lines
from chalicelib.services import Services
from chalicelib.wire.logs import CUT, MAX_TEXT_CHARS, LogFilter
from infra.local.stack import LocalStack
from tests.agents import PRINTER, SLEEPER
from tests.client import Client, agent, eventually, session, sleeper
from tests.integration.api.test_pages import deferred, talk

pytestmark = pytest.mark.xdist_group("logs")

HOLD = {"mode": "hold_after_exit", "duration": 60_000}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(port=0, agents=[PRINTER, SLEEPER]) as running:
        yield running


def printer(script: str, name: str = "ann", **options: Any) -> dict[str, Any]:
    return agent(name, "printer", SCRIPT=("string", script), **options)


def ran(client: Client, namespace: str, *agents: dict[str, Any]) -> str:
    """Run a session until its agents have ended, and return its path while it is held."""
    path = client.create(session(*agents, namespace=namespace, persistenceMode=HOLD))
    client.wait_for_status(path, "closing", within_s=30)
    return path


def read(client: Client, path: str, query: str = "") -> tuple[list[Any], str]:
    answer = client.call("GET", f"{path}/logs{query}")
    assert answer.status == 200, answer
    return answer.body, answer.headers["Next-Cursor"]


def printed(client: Client, path: str, query: str = "") -> list[tuple[str, str]]:
    """Return kind and text of the lines that agents printed."""
    lines, _ = read(client, path, query)
    return [(line["type"], line["text"]) for line in lines if line["tags"][-1]["type"] == "stdout"]


def test_what_agents_print_is_listed_with_all_four_tags(client: Client, namespace: str) -> None:
    path = ran(client, namespace, printer("echo fine; sleep 0.2; echo not fine >&2"))
    assert printed(client, path) == [("info", "fine"), ("warning", "not fine")]
    [out] = [line for line in read(client, path)[0] if line["text"] == "fine"]
    assert set(out) == {"type", "timestamp", "text", "tags"}
    assert out["tags"] == [
        {"type": "namespace", "namespace": namespace, "mdcMap": {"ns": namespace}},
        {"type": "session", "sessionId": path.rsplit("/", 1)[1], "mdcMap": {"sid": path.rsplit("/", 1)[1]}},
        {"type": "agent", "name": "ann", "mdcMap": {"agent": "ann"}},
        {"type": "stdout", "io": "out", "mdcMap": {"io": "stdout"}},
    ]


def test_the_life_of_a_session_is_told(client: Client, namespace: str) -> None:
    path = ran(client, namespace, printer("true"))
    said = ["session created", "session executed", "agent started", "agent stopped", "session closing"]

    def found() -> list[Any]:
        lines, _ = read(client, path)
        return [line for line in lines if line["text"].split(" (")[0] in said]

    eventually(lambda: sorted(line["text"].split(" (")[0] for line in found()) == sorted(said))
    kinds = {line["text"]: [tag["type"] for tag in line["tags"]] for line in found()}
    assert kinds["session closing (reason: agents_exited)"] == ["namespace", "session"]
    assert kinds["agent stopped (reason: exited with code 0)"] == ["namespace", "session", "agent"]


def test_a_thread_is_told_without_what_is_in_it(client: Client, namespace: str) -> None:
    path = deferred(client, namespace, "a")
    thread = talk(client, path, "hello there", name="a plan")
    lines, _ = read(client, path, "?agent=a")
    assert [line["text"] for line in lines] == [f"thread created (threadId: {thread})"]


def test_one_agents_lines_are_listed_alone(client: Client, namespace: str) -> None:
    path = ran(client, namespace, printer("echo one", "ann"), printer("echo two", "bob"))
    assert printed(client, path, "?agent=bob") == [("info", "two")]
    assert read(client, path, "?agent=nobody")[0] == []


def test_pages_go_on_where_the_last_one_ended(client: Client, namespace: str) -> None:
    path = ran(client, namespace, printer("for i in 1 2 3 4 5; do echo $i; done"))
    whole, end = read(client, path)
    parts: list[Any] = []
    cursor = "0"
    while page := read(client, path, f"?limit=2&after={cursor}"):
        found, cursor = page
        if not found:
            break
        parts += found
    assert parts[: len(whole)] == whole
    assert int(cursor) >= int(end)


@pytest.mark.parametrize("after", ["-1", "x", "1-2", "1-1.2.x", "", "1" * 14])
def test_a_cursor_that_is_none_is_refused(client: Client, namespace: str, after: str) -> None:
    answer = client.call("GET", f"{deferred(client, namespace)}/logs?after={after}")
    assert answer.status == 400
    assert "after" in answer.body["message"]


def test_secrets_are_hidden(client: Client, namespace: str) -> None:
    script = 'echo "token $TOKEN"; echo "$CORAL_CONNECTION_URL" >&2; echo "$CORAL_AGENT_SECRET"; env | grep -c TOKEN'
    path = ran(client, namespace, printer(script, TOKEN=("string", "hunter22\nline two")))
    texts = [text for _, text in printed(client, path)]
    assert "token ***" in texts
    assert "***" in texts
    [url] = [text for text in texts if text.startswith("http")]
    assert url.endswith("/mcp/v1/***/mcp")
    assert not any("hunter22" in text or "line two" in text for text in texts)


def test_bytes_and_long_lines_are_made_readable(client: Client, namespace: str) -> None:
    script = r"""printf '\377ok\n'; head -c 300000 /dev/zero | tr '\0' x; echo; echo after"""
    path = ran(client, namespace, printer(script))
    assert [text for _, text in printed(client, path)] == ["\ufffdok", "x" * MAX_TEXT_CHARS + CUT, "after"]


def test_a_flood_slows_itself_and_nobody_else(client: Client, stack: LocalStack, namespace: str) -> None:
    path = client.create(session(printer("yes"), namespace=namespace))
    eventually(lambda: printed(client, path, "?limit=1"), 20)
    quick = sorted(_seconds(lambda: client.call("GET", path)) for _ in range(20))
    assert quick[10] < 0.5
    assert client.call("DELETE", path).status == 200
    client.wait_for_status(path, None, within_s=30)
    assert len(list(stack.ring.read(LogFilter()))) <= 32_769


def _seconds(call: Any) -> float:
    began_s = time.monotonic()
    call()
    return time.monotonic() - began_s


def test_what_is_printed_can_be_followed(client: Client, stack: LocalStack, namespace: str) -> None:
    with stack.ring.follow(LogFilter(namespace=namespace, agent="ann"), 0) as following:
        threading.Thread(target=ran, args=(client, namespace, printer("echo now; echo then"))).start()
        found: list[str] = []
        while "then" not in found:
            line = following.next(20)
            assert line is not None
            found.append(line.text)
    assert [text for text in found if text in ("now", "then")] == ["now", "then"]


def test_the_log_is_gone_with_its_session(client: Client, namespace: str) -> None:
    path = client.create(session(printer("echo one"), namespace=namespace))
    client.wait_for_status(path, None, within_s=30)
    assert client.call("GET", f"{path}/logs").status == 404


def past(path: str) -> str:
    """Return where a session is in the history, by its path."""
    *_, namespace, session_id = path.split("/")
    return f"/api/v1/local/namespace/{namespace}/history/{session_id}"


def end(client: Client, path: str) -> None:
    """Close a session and wait until it is gone."""
    assert client.call("DELETE", path).status == 200
    client.wait_for_status(path, None, within_s=30)


def test_the_last_lines_of_each_agent_are_in_its_history(client: Client, namespace: str) -> None:
    count = last_lines.AGENT_LINES + 50
    many = printer(f"for i in $(seq {count}); do echo $i; done; exec sleep 60")
    secret = printer("echo $TOKEN >&2; exec sleep 60", "bob", TOKEN=("string", "hunter22"))
    path = client.create(session(many, secret, namespace=namespace))
    eventually(lambda: len(printed(client, path)) == count + 1, 20)
    live = [line for line in read(client, path, "?agent=ann")[0] if line["tags"][-1]["type"] == "stdout"]
    end(client, path)

    kept, _ = read(client, past(path), "?agent=ann")
    [older] = [line["text"] for line in kept if "not archived" in line["text"]]
    assert str(last_lines.AGENT_LINES) in older
    # How many of the lines are Atoll's own depends on when the agent's end is told of.
    prints = [line for line in kept if line["tags"][-1]["type"] == "stdout"]
    assert prints == live[-len(prints) :]
    assert len(kept) - 5 < len(prints) < len(kept) <= last_lines.AGENT_LINES + 1
    assert ("warning", "***") in printed(client, past(path), "?agent=bob")
    assert read(client, past(path), "?agent=nobody")[0] == []
    whole, _ = read(client, past(path))
    assert [
        line for line in whole if {"type": "agent", "name": "ann", "mdcMap": {"agent": "ann"}} in line["tags"]
    ] == kept
    assert "hunter22" not in str(whole)
    assert [line["timestamp"] for line in whole] == sorted(line["timestamp"] for line in whole)

    first, cursor = read(client, past(path), "?agent=ann&limit=150")
    rest, end_cursor = read(client, past(path), f"?agent=ann&after={cursor}")
    assert first + rest == kept
    assert read(client, past(path), f"?after={end_cursor}") == ([], end_cursor)
    assert client.call("GET", f"{past(path)}/logs?after=1-1.2.3").status == 400

    assert client.call("DELETE", past(path)).status == 200
    assert client.call("GET", f"{past(path)}/logs").status == 404


@pytest.fixture
def on_aws(stack: LocalStack) -> Iterator[Any]:
    """The stack's log group, which is read in place of the ring."""
    client = stack.services.client("logs")
    client.create_log_group(logGroupName="/atoll/local/agents")
    logs = Services.session_logs.func(stack.services)  # type: ignore[attr-defined]
    with patch.object(stack.services, "session_logs", logs):
        yield client
    client.delete_log_group(logGroupName="/atoll/local/agents")


def test_on_aws_the_lines_come_from_cloudwatch_with_secrets_hidden(
    client: Client, stack: LocalStack, namespace: str, on_aws: Any
) -> None:
    path = client.create(
        session(printer("sleep 60", TOKEN=("string", "hunter22")), sleeper("bob"), namespace=namespace)
    )
    session_id = path.rsplit("/", 1)[1]
    task = eventually(lambda: getattr(stack.services.agents.find(session_id, "ann"), "task_arn", None))
    stream = log_stream("printer", "1.0.0", task)
    on_aws.create_log_stream(logGroupName="/atoll/local/agents", logStreamName=stream)
    now_ms = int(time.time() * 1000)
    events = [{"timestamp": now_ms + number, "message": f"{number} hunter22"} for number in range(3)]
    on_aws.put_log_events(logGroupName="/atoll/local/agents", logStreamName=stream, logEvents=events)

    first, cursor = read(client, path, "?limit=2&agent=ann")
    assert [line["text"] for line in first] == ["0 ***", "1 ***"]
    rest, _ = read(client, path, f"?after={cursor}&agent=ann")
    assert [line["text"] for line in rest] == ["2 ***"]
    assert {tag["type"]: tag.get("io") for tag in rest[0]["tags"]}["stdout"] == "out"
    end(client, path)
    assert read(client, past(path))[0] == first + rest, "they were read once more when it ended"
