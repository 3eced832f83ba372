"""Coral's socket of logs: what agents print, and what Atoll says of sessions."""

import json
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest
from websockets.exceptions import InvalidStatus

from chalicelib.aws.connections import ManagedConnections
from chalicelib.aws.tasks import log_stream
from chalicelib.wire.logs import ErrorEvent, InfoEvent, SensitiveTag, WarningEvent, tags_of
from infra.local.services import LocalServices
from infra.local.stack import LocalStack
from tests.client import Client, eventually, session, sleeper
from tests.contract.coral import Coral
from tests.integration.live.conftest import Connect, Socket
from tests.log_batches import event_of

pytestmark = pytest.mark.xdist_group("live")


def say(
    stack: LocalStack,
    text: str,
    namespace: str | None = None,
    session_id: str | None = None,
    agent: str | None = None,
    *,
    sensitive: bool = False,
) -> None:
    """Add a line about a namespace, a session, an agent, as far as they are given."""
    tags = [*tags_of(namespace, session_id, agent), *([SensitiveTag()] if sensitive else [])]
    stack.ring.append(InfoEvent(timestamp=1_700_000_000_000, text=text, tags=tags))


def texts(socket: Socket, number: int) -> list[str]:
    return [socket.next()["text"] for _ in range(number)]


@pytest.fixture
def logs(follow: Connect, namespace: str) -> Connect:
    """Follow the lines of the test's own namespace."""

    def connected(query: str = "", key: str | None = "dev") -> Socket:
        return follow(f"logs?namespaceFilter={namespace}{query}", key, log=True)

    return connected


def test_the_life_of_a_session_is_told_line_by_line(client: Client, logs: Connect, namespace: str) -> None:
    socket = logs()
    path = client.create(session(sleeper(seconds=0), namespace=namespace))
    line = socket.next()
    assert next(iter(line)) == "type"
    assert {"type": "namespace", "namespace": namespace, "mdcMap": {"ns": namespace}} in line["tags"]
    session_id = path.rsplit("/", 1)[1]
    assert {"type": "session", "sessionId": session_id, "mdcMap": {"sid": session_id}} in line["tags"]


def test_the_latest_lines_come_first_and_none_is_missed(stack: LocalStack, logs: Connect, namespace: str) -> None:
    for number in range(5):
        say(stack, f"past {number}", namespace)
    socket = logs("&limit=3")
    assert texts(socket, 3) == ["past 2", "past 3", "past 4"]
    say(stack, "new", namespace)
    assert texts(socket, 1) == ["new"]


def test_each_level_is_pushed_in_corals_shape(stack: LocalStack, logs: Connect, namespace: str) -> None:
    """Coral's LoggerTests.testLoggingLevels."""
    socket = logs("&limit=20")
    for kind in (InfoEvent, WarningEvent, ErrorEvent):
        stack.ring.append(kind(timestamp=1_700_000_000_000, text="test", tags=tags_of(namespace)))
    lines = [socket.next() for _ in range(3)]
    assert [line["type"] for line in lines] == ["info", "warning", "error"]
    assert lines[2]["exceptionStackTrace"] == []
    assert [fault for line in lines for fault in Coral().faults("LoggingEvent", line)] == []


def test_as_many_lines_come_first_as_in_coral(stack: LocalStack, logs: Connect, namespace: str) -> None:
    for number in range(1_030):
        say(stack, f"past {number}", namespace)
    assert texts(logs(), 1_024) == [f"past {number}" for number in range(6, 1_030)]


def test_nothing_comes_first_when_nothing_is_asked_for(stack: LocalStack, logs: Connect, namespace: str) -> None:
    say(stack, "past", namespace)
    socket = logs("&limit=0")
    with pytest.raises(TimeoutError):
        socket.next(0.5)

    def first() -> str | None:
        say(stack, "new", namespace)  # again and again: the connection is made before it is followed
        with suppress(TimeoutError):
            return str(socket.next(0.1)["text"])
        return None

    assert eventually(first) == "new"


def test_all_filters_must_hold(stack: LocalStack, logs: Connect, namespace: str) -> None:
    say(stack, "another agent", namespace, "one", "bob")
    say(stack, "another session", namespace, "two", "ann")
    say(stack, "right", namespace, "one", "ann")
    assert texts(logs("&sessionFilter=one&agentFilter=ann"), 1) == ["right"]


def test_what_is_sensitive_must_be_asked_for(stack: LocalStack, logs: Connect, namespace: str) -> None:
    say(stack, "quiet", namespace, sensitive=True)
    say(stack, "loud", namespace)
    assert texts(logs(), 1) == ["loud"]
    assert texts(logs("&allowSensitive=true"), 2) == ["quiet", "loud"]


def test_a_key_sees_lines_of_the_namespaces_that_it_reaches(stack: LocalStack, follow: Connect) -> None:
    say(stack, "of nobody")
    say(stack, "of another", "another")
    say(stack, "of the tenant", "tenant-7")
    assert texts(follow("logs", "narrow", log=True), 1) == ["of the tenant"]


@pytest.mark.parametrize("query", ["limit=x", "limit=-1", "limit=1e3", "allowSensitive=perhaps"])
def test_a_wrong_value_is_refused(follow: Connect, query: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        follow(f"logs?{query}", log=True)
    assert refused.value.response.status_code == 400


@pytest.mark.parametrize(("key", "message"), [("wrong", "Invalid token"), (None, "Unauthorized")])
def test_who_has_no_key_is_refused(follow: Connect, key: str | None, message: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        follow("logs", key, log=True)
    response: Any = refused.value.response
    assert (response.status_code, json.loads(response.body)) == (401, {"message": message})


class Management:
    """API Gateway's management of connections: what each was sent."""

    def __init__(self) -> None:
        self.sent: dict[str, list[dict[str, Any]]] = {}

    def post_to_connection(self, **call: Any) -> None:
        self.sent.setdefault(call["ConnectionId"], []).append(json.loads(call["Data"]))


def test_on_aws_lines_come_by_the_subscription_to_who_has_connected(
    stack: LocalStack, client: Client, namespace: str
) -> None:
    path = client.create(session(sleeper(), namespace=namespace))
    session_id = path.rsplit("/", 1)[1]
    arn = eventually(lambda: stack.services.agents.of_session(session_id)[0].task_arn)
    query = {"path": f"/ws/v1/logs/{stack.key}", "sessionFilter": session_id}
    connecting = {"requestContext": {"connectionId": "on-aws"}, "queryStringParameters": query, "headers": {}}
    management = Management()
    pushes = ManagedConnections(management, stack.services.clock)  # type: ignore[arg-type]
    with patch.object(LocalServices, "connections", pushes):
        assert stack.functions.invoke("atoll-local-sockets", connecting)["statusCode"] == 200
        lines = [(1_700_000_000_000, "first"), (1_700_000_000_001, "second\n")]
        stack.functions.invoke("atoll-local-on_log_lines", event_of(*lines, stream=log_stream("sleeper", "1.0.0", arn)))
    stack.services.followers.remove("logs", "on-aws")
    frames = management.sent["on-aws"]
    assert [frame["text"] for frame in frames] == ["first", "second"]
    assert frames[0]["tags"][:3] == [tag.model_dump(by_alias=True) for tag in tags_of(namespace, session_id, "a")]
    assert [fault for frame in frames for fault in Coral().faults("LoggingEvent", frame)] == []
    client.call("DELETE", path)
