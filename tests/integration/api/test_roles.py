"""Roles of API keys on every way in: the REST API, the cookie of a sign-in, sockets, and the endpoint for keys."""

import urllib.request
from collections.abc import Iterator

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from chalicelib.api import roles
from chalicelib.domain import api_keys
from chalicelib.store.api_keys import Role
from infra.local.stack import LocalStack
from tests.client import Client

pytestmark = pytest.mark.xdist_group("api")

ROLES: tuple[Role, ...] = ("admin", "operator", "viewer", "agents")
#: What no call of these tests is to change.
NOWHERE = {
    "{namespace}": "nowhere",
    "{sessionId}": "none",
    "{agentName}": "none",
    "{agentVersion}": "0",
    "{linkedServerName}": "none",
    "{threadId}": "none",
    "{deliveryId}": "none",
}


@pytest.fixture(scope="module")
def keys(stack: LocalStack) -> Iterator[dict[Role, str]]:
    """A key of each role."""
    made = {role: f"key-of-{role}" for role in ROLES}
    for role, key in made.items():
        api_keys.put(stack.services, key, role, role=role)
    yield made
    for key in made.values():
        stack.services.api_keys.remove(api_keys.hash_of(key))


def refused(stack: LocalStack, operation: str, key: str | None, headers: dict[str, str] | None = None) -> bool:
    """Ask for an operation on what is not there; return whether it was refused for the role."""
    method, path = operation.split()
    for name, value in NOWHERE.items():
        path = path.replace(name, value)
    answer = Client(stack.url, key).call(method, path, b"[" if method in {"POST", "PUT"} else None, headers)
    return answer.status == 403 and "has the role" in answer.body["message"]


@pytest.mark.parametrize("role", ROLES)
def test_each_route_is_open_to_the_roles_of_its_line(stack: LocalStack, keys: dict[Role, str], role: Role) -> None:
    for operation, needed in roles.NEEDED.items():
        assert refused(stack, operation, keys[role]) is (role not in needed), operation


def test_a_refusal_names_the_role_and_what_is_needed(stack: LocalStack, keys: dict[Role, str]) -> None:
    answer = Client(stack.url, keys["viewer"]).call("POST", "/api/v1/local/namespace", {"name": "x"})
    assert answer.status == 403
    assert answer.body["message"] == (
        "this API key has the role 'viewer': POST /api/v1/local/namespace needs admin or operator"
    )


def test_a_sign_in_has_the_role_of_its_key(stack: LocalStack, keys: dict[Role, str]) -> None:
    for role in ROLES:
        cookie = {"Cookie": signs_in(stack, keys[role]), "Origin": stack.url}
        assert refused(stack, "POST /api/v1/local/session", None, cookie) is (role in {"viewer", "agents"})
        assert refused(stack, "GET /api/v1/local/namespace", None, cookie) is (role == "agents")


def signs_in(stack: LocalStack, key: str) -> str:
    class Stays(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object) -> None:
            return None

    request = urllib.request.Request(f"{stack.url}/api/v1/auth/token", f"token={key}".encode(), method="POST")
    try:
        urllib.request.build_opener(Stays).open(request, timeout=60)
    except urllib.error.HTTPError as answer:
        return str(answer.headers["Set-Cookie"].split(";")[0])
    raise AssertionError("a sign-in leads elsewhere")


def test_sockets_are_for_who_may_read(stack: LocalStack, keys: dict[Role, str]) -> None:
    sockets = f"{stack.url.replace('http', 'ws', 1)}/ws/v1"
    for role in ("admin", "operator", "viewer"):
        assert connects(f"{sockets}/events/{keys[role]}/lsm")
    for path in (f"events/{keys['agents']}/lsm", f"logs/{keys['agents']}", f"events/{keys['agents']}/session/a/b"):
        assert status_of_socket(f"{sockets}/{path}") == 403
    assert status_of_socket(f"{sockets}/logs/{keys['viewer']}?allowSensitive=true") == 403
    assert connects(f"{sockets}/logs/{keys['operator']}?allowSensitive=true")


def connects(url: str) -> bool:
    with connect(url):
        return True


def status_of_socket(url: str) -> int:
    with pytest.raises(InvalidStatus) as refusal, connect(url):
        pass
    return refusal.value.response.status_code


def test_a_key_that_was_stored_before_there_were_roles_is_an_admins(stack: LocalStack) -> None:
    item = {"keyHash": {"S": api_keys.hash_of("old")}, "name": {"S": "old"}, "createdAtMs": {"N": "0"}}
    stack.services.dynamodb.put_item(TableName=stack.services.settings.table("api-keys"), Item=item)
    assert Client(stack.url, "old").call("POST", "/api/v1/local/namespace", {"name": "of old"}).status == 200
    Client(stack.url, "old").call("DELETE", "/api/v1/local/namespace/of%20old")
    stack.services.api_keys.remove(api_keys.hash_of("old"))
