"""The audit log: a line for whatever a key changes, or tries to."""

import logging
from typing import Any

import pytest
from typer.testing import CliRunner

from chalicelib.domain import api_keys
from chalicelib.telemetry import Ids
from infra import keys
from infra.local.stack import LocalStack
from tests.agents import SLEEPER
from tests.client import Client, eventually, session, sleeper

pytestmark = pytest.mark.xdist_group("api")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines of the audit log, as they are written."""
    found: list[dict[str, Any]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(vars(record))

    handler = Kept()
    handler.addFilter(Ids())
    caplog.set_level(logging.INFO, "atoll.audit")
    logging.getLogger("atoll.audit").addHandler(handler)
    return found


def said(lines: list[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(line.get(name) for name in ("audit", "outcome", *names)) for line in lines]


def test_who_changes_a_session_is_told_with_what_and_to_which(
    stack: LocalStack, client: Client, namespace: str, lines: list[dict[str, Any]]
) -> None:
    path = client.create(session(sleeper(), namespace=namespace, defer=True))
    session_id, puppet = path.rsplit("/", 1)[1], path.replace("/local/session/", "/puppet/") + "/a"
    client.call("POST", f"{puppet}/thread", {"threadName": "t", "participantNames": []})
    client.call("GET", path)
    client.call("DELETE", puppet)
    client.call("DELETE", path)
    assert said(lines, "namespace", "session", "agent") == [
        ("create_session", "done", namespace, session_id, None),
        ("puppet_create_thread", "done", namespace, session_id, "a"),
        ("puppet_kill_agent", "BadRequest", namespace, session_id, "a"),
        ("close_session", "done", namespace, session_id, None),
    ]
    key = api_keys.hash_of(stack.key)[:12]
    assert {(line["key"], line["keyName"], line["role"]) for line in lines} == {(key, "local", "admin")}
    eventually(lambda: client.status(path) is None)


def test_a_change_of_the_registry_is_told_and_so_is_one_that_is_refused(
    stack: LocalStack, client: Client, narrow: Client, lines: list[dict[str, Any]]
) -> None:
    api_keys.put(stack.services, "sees", "sees", role="viewer")
    place = "/api/v1/registry/local/sleeper/1.0.0"
    text = (SLEEPER / "coral-agent.toml").read_bytes()
    for who in (client, narrow, Client(stack.url, "sees"), Client(stack.url, "of nobody")):
        who.call("PUT", place, text, {"Content-Type": "application/toml"})
    assert said(lines, "keyName", "agent", "version") == [
        ("put_local_agent", "done", "local", "sleeper", "1.0.0"),
        ("put_local_agent", "Forbidden", "one tenant's", "sleeper", "1.0.0"),
        ("put_local_agent", "Forbidden", "sees", "sleeper", "1.0.0"),
    ]


def test_no_line_says_what_was_said(client: Client, namespace: str, lines: list[dict[str, Any]]) -> None:
    path = client.create(session(sleeper(), namespace=namespace, defer=True))
    puppet = path.replace("/local/session/", "/puppet/") + "/a"
    thread = client.call("POST", f"{puppet}/thread", {"threadName": "hidden name", "participantNames": []})
    message = {"threadId": thread.body["thread"]["id"], "content": "hidden text", "mentions": []}
    assert client.call("POST", f"{puppet}/thread/message", message).status == 200
    assert "puppet_send_message" in str(lines)
    assert "hidden" not in str(lines)
    client.call("DELETE", path)


def test_a_change_of_the_stacks_keys_is_told(stack: LocalStack, lines: list[dict[str, Any]]) -> None:
    environment = {"ATOLL_API_KEY": stack.key}
    CliRunner().invoke(keys.app, ["make", "told", "--stage", "local", "--url", stack.url], env=environment)
    made = next(key for key in stack.services.api_keys.all() if key.name == "told")
    assert said(lines, "operation", "ofKey") == [("change_keys", "done", "PutItem", api_keys.id_of(made))]
