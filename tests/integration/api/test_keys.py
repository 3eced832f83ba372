"""API keys: an operator makes, lists and revokes them with the command, on the local stack."""

from typing import get_args

import pytest
from typer.testing import CliRunner, Result

from chalicelib.domain import api_keys
from chalicelib.store.api_keys import Role
from infra import keys
from infra.local.stack import LocalStack
from tests.client import Client

pytestmark = pytest.mark.xdist_group("api")


class Operator:
    """Runs the command for one local stack."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack

    def run(self, *arguments: str, key: str | None = None) -> Result:
        return CliRunner().invoke(
            keys.app,
            [*arguments, "--stage", "local", "--url", self._stack.url],
            env={"ATOLL_API_KEY": key or self._stack.key},
        )

    def __call__(self, *arguments: str, key: str | None = None, succeeds: bool = True) -> str:
        found = self.run(*arguments, key=key)
        assert (found.exit_code == 0) is succeeds, found.output
        return found.stdout if succeeds else found.stderr


@pytest.fixture
def operator(stack: LocalStack) -> Operator:
    return Operator(stack)


def test_a_key_is_shown_once_and_works(operator: Operator, stack: LocalStack) -> None:
    key = operator("make", "ann").strip()
    assert Client(stack.url, key).call("GET", "/api/v1/local/namespace").status == 200
    listed = operator("list")
    assert "ann" in listed
    assert key not in listed
    assert not any(key in str(record) for record in stack.services.api_keys.all())


def test_a_key_reaches_the_namespaces_that_it_was_made_for(operator: Operator, stack: LocalStack) -> None:
    client = Client(stack.url, operator("make", "bob", "-n", "exact", "-n", "team-*").strip())
    reached = {name: client.call("POST", "/api/v1/local/namespace", {"name": name}).status for name in REACH}
    assert reached == REACH


REACH = {"exact": 200, "exactly": 403, "exac": 403, "team-": 200, "team-a": 200, "team": 403, "Team-a": 403, "*": 403}


def test_a_revoked_key_is_refused_within_a_minute(
    operator: Operator, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(stack.url, operator("make", "carl").strip())
    assert client.call("GET", "/api/v1/registry").status == 200
    operator("revoke", "carl")
    now_ms = stack.services.clock.now_ms()
    monkeypatch.setattr(stack.services.clock, "now_ms", lambda: now_ms + api_keys.CACHE_MS + 1)
    assert client.call("GET", "/api/v1/registry").status == 401


def test_a_revoked_key_changes_nothing_after_five_seconds(
    operator: Operator, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(stack.url, operator("make", "cora").strip())
    assert client.call("GET", "/api/v1/registry").status == 200
    operator("revoke", "cora")
    now_ms = stack.services.clock.now_ms()
    monkeypatch.setattr(stack.services.clock, "now_ms", lambda: now_ms + api_keys.CHANGE_CACHE_MS + 1_000)
    assert client.call("GET", "/api/v1/registry").status == 200, "known for a minute to who only reads"
    assert client.call("POST", "/api/v1/local/namespace", {"name": "revoked"}).status == 401
    assert client.call("GET", "/api/v1/registry").status == 401


def test_a_rotated_key_does_what_the_old_one_did_which_ends_after_the_overlap(
    operator: Operator, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = ("-n", "rotated", "--role", "viewer", "--limit", "requests_per_second=100")
    old = operator("make", "rolf", *wanted).strip()
    new = operator("rotate", "rolf", "--overlap-hours", "2").strip()
    was, now = (stack.services.api_keys.find(api_keys.hash_of(key)) for key in (old, new))
    assert was
    assert now
    assert (now.name, now.namespaces, now.role, now.limits) == (was.name, was.namespaces, was.role, was.limits)
    assert api_keys.usage_id_of(now) == api_keys.usage_id_of(was), "both count as one"
    assert now.expires_at is None
    begins_ms = stack.services.clock.now_ms()
    for later_ms, statuses in ((0, [200, 200]), (2 * 3_600_000 + 1_000, [401, 200])):
        monkeypatch.setattr(stack.services.clock, "now_ms", lambda later_ms=later_ms: begins_ms + later_ms)
        assert [Client(stack.url, key).call("GET", "/api/v1/registry").status for key in (old, new)] == statuses


def test_rotating_prolongs_no_key(operator: Operator, stack: LocalStack) -> None:
    old = operator("make", "rosa", "--days", "1").strip()
    new = operator("rotate", "rosa", "--overlap-hours", "48").strip()
    was, now = (stack.services.api_keys.find(api_keys.hash_of(key)) for key in (old, new))
    assert was
    assert now
    assert was.expires_at == now.expires_at


def test_a_key_that_reaches_everything_says_so(operator: Operator) -> None:
    for arguments, loud in ((["wide"], True), (["tight", "-n", "one"], False)):
        found = operator.run("make", *arguments)
        assert ("EVERY namespace" in found.stderr) is loud
        assert found.stdout.startswith("atoll_")


def test_the_list_shows_roles_limits_and_the_hour_of_the_last_use(operator: Operator, stack: LocalStack) -> None:
    key = operator("make", "uma", "--role", "viewer", "-l", "sessions=7").strip()
    assert line_of("uma", operator("list")).split("\t")[-1] == "never"
    Client(stack.url, key).call("GET", "/api/v1/registry")
    line = line_of("uma", operator("list"))
    assert "viewer" in line
    assert "sessions=7" in line
    assert line.split("\t")[-1].startswith("20")


def line_of(name: str, listed: str) -> str:
    return next(line for line in listed.splitlines() if f"\t{name}\t" in line)


@pytest.mark.parametrize(
    "limits", ["sessions=0", "sessions=1.5", "sessions", "nonsense=1", "sessions=1001", "agents=²"]
)
def test_a_limit_that_is_none_is_refused_with_what_it_must_be(operator: Operator, limits: str) -> None:
    assert limits.partition("=")[0] in operator("make", "eve", "-l", limits, succeeds=False)


def test_a_role_that_is_none_is_refused(operator: Operator) -> None:
    assert "admin, operator, viewer, agents" in operator("make", "eve", "--role", "root", succeeds=False)


def test_a_key_is_refused_from_the_second_on_in_which_it_expires(
    operator: Operator, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(stack.url, operator("make", "dora", "--days", "1").strip())
    expires_ms = next(key.expires_at or 0 for key in stack.services.api_keys.all() if key.name == "dora") * 1000
    for now_ms, status in ((expires_ms - 1, 200), (expires_ms, 401)):
        monkeypatch.setattr(stack.services.clock, "now_ms", lambda now_ms=now_ms: now_ms)
        assert client.call("GET", "/api/v1/registry").status == status


def test_of_two_keys_of_one_name_the_id_selects_which_to_revoke(operator: Operator, stack: LocalStack) -> None:
    first, second = (operator("make", "twin").strip() for _ in range(2))
    assert "2 API keys" in operator("revoke", "twin", succeeds=False)
    operator("revoke", api_keys.hash_of(first)[:12])
    assert stack.services.api_keys.find(api_keys.hash_of(first)) is None
    assert stack.services.api_keys.find(api_keys.hash_of(second)) is not None


@pytest.mark.parametrize("namespace", ["", "a*b", "**"])
def test_a_limit_that_no_namespace_fits_is_refused(operator: Operator, namespace: str) -> None:
    assert "neither" in operator("make", "eve", "-n", namespace, succeeds=False)


def test_keys_are_managed_only_with_the_stacks_key(operator: Operator, stack: LocalStack) -> None:
    for role in get_args(Role):
        api_keys.put(stack.services, f"of {role}", role, role=role)
        assert "another API key" in operator("list", key=f"of {role}", succeeds=False)
    assert "another API key" in operator("list", key="wrong", succeeds=False)


def test_a_stack_that_is_not_there_is_said_so(stack: LocalStack) -> None:
    found = CliRunner().invoke(keys.app, ["list", "--stage", "local", "--url", "http://127.0.0.1:1"])
    assert found.exit_code == 3
    assert "http://127.0.0.1:1" in found.stderr
