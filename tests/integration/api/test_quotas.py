"""Quotas over HTTP: a 429 with the limit's name, and when to try again."""

import pytest

from chalicelib.domain import api_keys, quotas
from infra.local.stack import LocalStack
from tests.client import Answer, Client, eventually, session, sleeper

pytestmark = pytest.mark.xdist_group("api")

SESSION = "/api/v1/local/session"


def limited(stack: LocalStack, key: str, **limits: int) -> Client:
    """Return a client whose key has quotas."""
    api_keys.put(stack.services, key, key, limits=limits)
    return Client(stack.url, key)


def is_refused_by(answer: Answer, limit: str) -> None:
    """Check that an answer says which limit is reached, and when to try again."""
    assert answer.status == 429
    assert answer.headers["Limit-Name"] == limit
    assert int(answer.headers["Retry-After"]) >= 1
    assert limit in answer.body["message"]


def test_a_session_more_than_the_key_may_have_open_is_refused_until_one_ends(
    stack: LocalStack, client: Client, namespace: str
) -> None:
    mine = limited(stack, namespace, sessions=1)
    request = session(sleeper(), namespace=namespace, defer=True)
    path = mine.create(request)
    is_refused_by(mine.call("POST", SESSION, request), "sessions")
    assert client.call("POST", SESSION, request).status == 200, "another key has no quota"
    assert mine.call("DELETE", path).status == 200
    eventually(lambda: mine.call("POST", SESSION, request).status == 200)
    client.call("DELETE", f"/api/v1/local/namespace/{namespace}")


def test_a_refused_session_leaves_nothing(stack: LocalStack, client: Client, namespace: str) -> None:
    mine = limited(stack, namespace, agents=1)
    is_refused_by(mine.call("POST", SESSION, session(sleeper("a"), sleeper("b"), namespace=namespace)), "agents")
    assert client.call("GET", f"/api/v1/local/namespace/{namespace}").status == 404


def test_a_namespace_has_quotas_whatever_the_key(stack: LocalStack, client: Client, namespace: str) -> None:
    quotas.limit_namespace(stack.services, f"{namespace}*", {"creations_per_minute": 1})
    stack.services.known_keys.clear()
    request = session(sleeper(), namespace=namespace, defer=True)
    assert client.call("POST", SESSION, request).status == 200
    is_refused_by(client.call("POST", SESSION, request), "creations_per_minute")
    quotas.limit_namespace(stack.services, f"{namespace}*", {})
    stack.services.known_keys.clear()
    client.call("DELETE", f"/api/v1/local/namespace/{namespace}")


def test_no_other_tenant_uses_up_a_namespaces_rate(stack: LocalStack, narrow: Client, namespace: str) -> None:
    quotas.limit_namespace(stack.services, namespace, {"requests_per_second": 1})
    stack.services.known_keys.clear()
    place = f"/api/v1/local/namespace/{namespace}"
    assert [narrow.call("GET", place).status for _ in range(3)] == [403] * 3
    owner = limited(stack, f"owner of {namespace}")
    assert owner.call("GET", place).status == 404, "there is none, but no limit is reached"
    quotas.limit_namespace(stack.services, namespace, {})
    stack.services.known_keys.clear()


def test_no_name_is_too_long_for_a_limit(stack: LocalStack, client: Client) -> None:
    quotas.limit_namespace(stack.services, "*", {"requests_per_second": 100})
    stack.services.known_keys.clear()
    assert client.call("GET", f"/api/v1/local/namespace/{'n' * 3_000}").status == 404
    assert client.call("GET", f"/api/v1/local/namespace/{'n' * 1_000}").status == 404
    quotas.limit_namespace(stack.services, "*", {})
    stack.services.known_keys.clear()


def test_signing_in_counts_as_a_request(stack: LocalStack, namespace: str) -> None:
    limited(stack, namespace, requests_per_second=1)
    form, visitor = {"Content-Type": "application/x-www-form-urlencoded"}, Client(stack.url, None)
    answers = [visitor.call("POST", "/api/v1/auth/token?to=/api_v1.json", f"token={namespace}".encode(), form)]
    while answers[-1].status == 200:  # a machine that is busy takes a second for two
        answers.append(visitor.call("POST", "/api/v1/auth/token?to=/api_v1.json", f"token={namespace}".encode(), form))
        assert len(answers) < 100
    is_refused_by(answers[-1], "requests_per_second")


def test_a_request_more_than_the_rate_is_refused(stack: LocalStack, namespace: str) -> None:
    mine = limited(stack, namespace, requests_per_second=1)
    answers = [mine.call("GET", "/api/v1/registry") for _ in range(2)]
    while answers[-1].status == 200:  # a machine that is busy takes a second for two
        answers.append(mine.call("GET", "/api/v1/registry"))
        assert len(answers) < 100
    is_refused_by(answers[-1], "requests_per_second")
    eventually(lambda: mine.call("GET", "/api/v1/registry").status == 200)
