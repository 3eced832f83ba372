"""Coral's SessionApiTest: sessions and namespaces over the REST API."""

import hashlib
import hmac
import json
import uuid

import pytest

from infra.local.stack import LocalStack
from tests.client import Client, agent, eventually, session, sleeper
from tests.integration.webhooks.receivers import receiving

pytestmark = pytest.mark.xdist_group("coral")

NAMESPACE = "/api/v1/local/namespace"


@pytest.mark.coral("SessionApiTest.testCreateSession")
def test_create_session(client: Client, namespace: str) -> None:
    """Ten sessions are in every listing while they run; with their agents' end they and their namespace are gone."""
    paths = [client.create(session(sleeper(), namespace=namespace)) for _ in range(10)]
    listed = {each["base"]["name"]: each["sessions"] for each in client.call("GET", f"{NAMESPACE}/extended").body}
    assert len(listed[namespace]) == 10
    assert len(client.call("GET", f"{NAMESPACE}/{namespace}").body) == 10
    for path in paths:
        assert client.call("DELETE", f"{path.replace('/local/session/', '/puppet/')}/a").status == 200
    for path in paths:
        client.wait_for_status(path, None)
    eventually(lambda: namespace not in [each["name"] for each in client.call("GET", NAMESPACE).body])
    assert client.call("GET", f"{NAMESPACE}/{namespace}").status == 404


@pytest.mark.coral("SessionApiTest.testCustomTools")
def test_custom_tools(stack: LocalStack, client: Client, namespace: str) -> None:
    """An agent's call of a custom tool without schemas is posted, signed, below the tool's URL."""
    payload = {name: str(uuid.uuid4()) for name in "abc"}
    caller = agent("caller", "tool", TOOL_NAME=("string", "test"), TOOL_INPUT=("string", json.dumps(payload)))
    request = session(caller | {"customToolAccess": ["test"]}, namespace=namespace)
    with receiving() as receiver:
        receiver.answer(200, body=b"hello world")
        url = receiver.url.replace("/hook", "/customTool")
        request["agentGraphRequest"]["customTools"] = {"test": {"transport": {"type": "http", "url": url}}}
        path = client.create(request)
        client.wait_for_status(path, None)
    [received] = receiver.received
    assert received.path == f"/customTool/{path.rsplit('/', 1)[1]}/caller"
    assert json.loads(received.body) == payload
    signature = hmac.new(stack.custom_tool_secret.encode(), received.body, hashlib.sha256).hexdigest()
    assert received.headers["x-coral-signature"] == signature


@pytest.mark.coral("SessionApiTest.testGetNamespaceNames")
def test_get_namespace_names(client: Client) -> None:
    names = {str(uuid.uuid4()) for _ in range(10)}
    for name in names:
        assert client.call("POST", NAMESPACE, {"name": name}).status == 200
    assert names <= {each["name"] for each in client.call("GET", NAMESPACE).body}


@pytest.mark.coral("SessionApiTest.testGetNamespaceSessions")
def test_get_namespace_sessions(client: Client, namespace: str) -> None:
    """The listings of a namespace have its sessions, in short and in full: each with its agent and no thread yet."""
    paths = [client.create(session(sleeper(), namespace=namespace, defer=True)) for _ in range(5)]
    ids = {path.rsplit("/", 1)[1] for path in paths}
    short = client.call("GET", f"{NAMESPACE}/{namespace}").body
    full = client.call("GET", f"{NAMESPACE}/{namespace}/extended").body
    assert {each["id"] for each in short} == {each["base"]["id"] for each in full} == ids
    assert {each["namespace"] for each in [*short, *(each["base"] for each in full)]} == {namespace}
    assert [(len(each["agents"]), each["threads"]) for each in full] == [(1, [])] * 5
