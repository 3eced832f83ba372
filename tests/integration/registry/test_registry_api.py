"""The registry over HTTP, on the local stack."""

import functools
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.domain import agent_files, api_keys, registry
from chalicelib.domain.errors import BadRequest, TooLarge
from chalicelib.reactions import task_definitions
from chalicelib.services import Services
from infra.local.stack import LocalStack
from tests.agents import SLEEPER
from tests.client import Client, agent, eventually, session, sleeper

REGISTRY = "/api/v1/registry"
TOML = {"Content-Type": "application/toml"}


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    with LocalStack(port=0, agents=[SLEEPER]) as running:
        yield running


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A name of its own for the agent of each test."""
    return f"t{zlib.crc32(request.node.name.encode())}"


def toml(name: str, version: str = "1.0.0", more: str = "") -> bytes:
    return f"""
        edition = 4
        [agent]
        name = "{name}"
        version = "{version}"
        description = "Sleeps, é."
        [runtimes.executable]
        path = "sleep"
        arguments = ["60"]
        {more}
    """.encode()


def versions(client: Client, name: str) -> list[str]:
    [source] = client.call("GET", REGISTRY).body
    return next((agent["versions"] for agent in source["agents"] if agent["name"] == name), [])


def test_the_local_registry_is_the_only_one(client: Client) -> None:
    [source] = client.call("GET", REGISTRY).body
    assert source["identifier"] == {"type": "local"}
    assert {"name": "sleeper", "versions": ["1.0.0"]} in source["agents"]
    assert source["timestamp"].endswith("Z")


def test_an_agent_is_there_in_full(client: Client) -> None:
    answer = client.call("GET", f"{REGISTRY}/local/sleeper/1.0.0")
    assert answer.status == 200
    assert answer.body["restrictions"] == []
    found = answer.body["registryAgent"]
    assert found["info"]["identifier"] == {
        "name": "sleeper",
        "version": "1.0.0",
        "registrySourceId": {"type": "local"},
    }
    assert set(found["runtimes"]["executable"]) == {"path", "arguments", "transport"}
    assert found["options"]["SECONDS_TO_LIVE"]["default"] == 60.0
    assert found["exportSettings"] == {}


@pytest.mark.parametrize(
    "path",
    [
        "local/sleeper/1.0.1",
        "local/nobody/1.0.0",
        f"local/{'x' * 2000}/1.0.0",
        "local/sleeper/%00",
        "local/%20/%F0%9F%90%9A",
        "marketplace/sleeper/1.0.0",
        "linked/server/sleeper/1.0.0",
    ],
)
def test_what_is_not_there_is_404(client: Client, path: str) -> None:
    answer = client.call("GET", f"{REGISTRY}/{path}")
    assert answer.status == 404
    assert answer.body["message"]


def test_an_agent_is_added_used_and_removed(client: Client, name: str) -> None:
    path = f"{REGISTRY}/local/{name}/1.0.0"
    for _ in range(2):  # once is as good as twice
        answer = client.call("PUT", path, toml(name), TOML)
        assert answer.status == 200
        assert answer.body == client.call("GET", path).body
    assert versions(client, name) == ["1.0.0"]

    made = client.create(session(agent("a", name), namespace=name))
    eventually(lambda: client.call("GET", f"{made}/extended").body["agents"][0]["status"]["type"] == "running")
    refused = client.call("DELETE", path)
    assert refused.status == 409
    assert made.rsplit("/", 1)[1] in refused.body["message"]
    assert versions(client, name) == ["1.0.0"]

    client.call("DELETE", made)
    client.wait_for_status(made, None)
    for _ in range(2):
        assert client.call("DELETE", path).status == 200
        assert client.call("GET", path).status == 404
    assert versions(client, name) == []
    assert client.call("POST", "/api/v1/local/session", session(agent("a", name), namespace=name)).status == 400


def test_a_session_that_is_still_to_be_executed_keeps_its_agents(client: Client, name: str) -> None:
    path = f"{REGISTRY}/local/{name}/1.0.0"
    client.call("PUT", path, toml(name), TOML)
    made = client.create(session(agent("a", name), namespace=name, defer=True))
    assert client.call("DELETE", path).status == 409
    client.call("DELETE", made)
    assert client.call("DELETE", path).status == 200


def test_another_version_is_another_agent(client: Client, name: str) -> None:
    for version in ("1.0.0", "1.0.1-rc.1"):
        assert client.call("PUT", f"{REGISTRY}/local/{name}/{version}", toml(name, version), TOML).status == 200
    assert versions(client, name) == ["1.0.0", "1.0.1-rc.1"]
    assert client.call("DELETE", f"{REGISTRY}/local/{name}/1.0.0").status == 200
    assert versions(client, name) == ["1.0.1-rc.1"]


def test_an_agent_that_was_replaced_runs_as_it_is_now(client: Client, name: str) -> None:
    path = f"{REGISTRY}/local/{name}/1.0.0"

    def runs(made: str) -> bool:
        status: str = client.call("GET", f"{made}/extended").body["agents"][0]["status"]["type"]
        return status == "running"

    for seconds in ("60", "0"):
        client.call("PUT", path, toml(name).replace(b'"60"', f'"{seconds}"'.encode()), TOML)
        made = client.create(session(agent("a", name), namespace=name))
        if seconds == "60":
            eventually(functools.partial(runs, made))
            client.call("DELETE", made)
        client.wait_for_status(made, None)


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("other/1.0.0", toml("name"), "the path names other 1.0.0"),
        ("name/2.0.0", toml("name"), "the path names name 2.0.0"),
        ("name/1.0.0", b"\xff", "not UTF-8"),
        ("name/1.0.0", b"", "edition"),
        ("name/1.0.0", toml("name", more='[options.A]\ntype = "x"'), "options.A"),
        (
            "name/1.0.0",
            toml("name", more='[options.A]\ntype = "string"\ndefault = {type="file", path="/etc/passwd"}'),
            "folder",
        ),
        ("NAME/1.0.0", toml("NAME"), "agent.name"),
    ],
)
def test_what_breaks_a_rule_is_refused(client: Client, path: str, body: bytes, message: str) -> None:
    answer = client.call("PUT", f"{REGISTRY}/local/{path}", body, TOML)
    assert answer.status == 400
    assert message in answer.body["message"]
    assert versions(client, "name") == []


def test_a_file_has_at_most_256_kib(client: Client, name: str) -> None:
    more = f'[options.A]\ntype = "string"\ndefault = "{"x" * 262_144}"'
    answer = client.call("PUT", f"{REGISTRY}/local/{name}/1.0.0", toml(name, more=more), TOML)
    assert answer.status == 413
    assert "262144" in answer.body["message"]
    assert client.call("PUT", f"{REGISTRY}/local/{name}/1.0.0", b"#" * 1_000_001, TOML).status == 413


def test_a_definition_has_at_most_380_kb(stack: LocalStack, name: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("x" * 200_000)
    more = "\n".join(f'[options.{x}]\ntype = "string"\ndefault = {{type = "file", path = "x"}}' for x in "AB")
    with pytest.raises(TooLarge, match="380000"):
        registry.put(stack.services, toml(name, more=more).decode(), name, "1.0.0", base_path=str(tmp_path))


def test_the_default_of_a_secret_option_is_used_and_not_shown(client: Client, name: str) -> None:
    more = '[options.SECRET]\ntype = "string"\nsecret = true\ndefault = "hunter2"\nrequired = true'
    path = f"{REGISTRY}/local/{name}/1.0.0"
    assert "hunter2" not in str(client.call("PUT", path, toml(name, more=more), TOML))
    assert "hunter2" not in str(client.call("GET", path))
    client.call("DELETE", client.create(session(agent("a", name), namespace=name)))


def test_a_key_is_needed_and_one_limited_to_namespaces_changes_nothing(
    stack: LocalStack, client: Client, name: str
) -> None:
    path = f"{REGISTRY}/local/{name}/1.0.0"
    api_keys.put(stack.services, f"limited-{name}", "limited", [name])
    limited = Client(stack.url, f"limited-{name}")
    for stranger in (Client(stack.url, None), Client(stack.url, "wrong")):
        for method in ("GET", "PUT", "DELETE"):
            body, headers = (toml(name), TOML) if method == "PUT" else (None, None)
            assert stranger.call(method, path, body, headers).status == 401
        assert stranger.call("GET", REGISTRY).status == 401
    assert limited.call("PUT", path, toml(name), TOML).status == 403
    assert limited.call("DELETE", path).status == 403
    assert limited.call("GET", REGISTRY).status == 200
    assert versions(client, name) == []


def test_agents_of_other_registries_and_runtimes_are_refused(client: Client, name: str) -> None:
    for change in (
        {"id": {"name": "sleeper", "version": "1.0.0", "registrySourceId": {"type": "marketplace"}}},
        {"id": {"name": "sleeper", "version": "1.0.0", "registrySourceId": {"type": "linked", "linkedServerId": "x"}}},
        {"id": {"name": "sleeper", "version": "9.0.0", "registrySourceId": {"type": "local"}}},
        {"id": {"name": "", "version": "1.0.0", "registrySourceId": {"type": "local"}}},
        {"id": {"name": "x" * 3000, "version": "1.0.0", "registrySourceId": {"type": "local"}}},
        {"provider": {"type": "local", "runtime": "docker"}},
        {"provider": {"type": "local", "runtime": "function"}},
        {"options": {"NOBODY": {"type": "i8", "value": 1}}},
        {"options": {"SECONDS_TO_LIVE": {"type": "i8", "value": 1}}},
        {"options": {"SECONDS_TO_LIVE": {"type": "f64", "value": "soon"}}},
    ):
        answer = client.call("POST", "/api/v1/local/session", session(sleeper() | change, namespace=name))
        assert answer.status == 400, change
        assert answer.body["message"]
    assert client.call("GET", f"/api/v1/local/namespace/{name}").status == 404


def test_a_graph_of_128_different_agents_is_read(client: Client, name: str) -> None:
    agents = [agent(f"a{number}", name) for number in range(128)]
    for number, asked in enumerate(agents):
        asked["id"]["version"] = f"1.0.{number}"
        assert (
            client.call("PUT", f"{REGISTRY}/local/{name}/1.0.{number}", toml(name, f"1.0.{number}"), TOML).status == 200
        )
    client.call("DELETE", client.create(session(*agents, namespace=name, defer=True)))
    assert len(versions(client, name)) == 128


def test_a_task_definition_is_registered_once_and_anew_for_a_new_text(
    stack: LocalStack, client: Client, name: str
) -> None:
    path, identifier = f"{REGISTRY}/local/{name}/1.0.0", {"name": name, "version": "1.0.0"}
    client.call("PUT", path, toml(name), TOML)
    first = task_definitions.arn_of(stack.services, identifier, "executable")
    client.call("PUT", path, toml(name), TOML)
    assert task_definitions.arn_of(stack.services, identifier, "executable") == first
    client.call("PUT", path, toml(name, more="[runtimes.docker]\nimage = 'i'"), TOML)
    assert task_definitions.arn_of(stack.services, identifier, "executable") != first
    docker = task_definitions.arn_of(stack.services, identifier, "docker")
    assert docker == task_definitions.arn_of(stack.services, identifier, "docker")
    client.call("PUT", path, toml(name), TOML)
    with pytest.raises(task_definitions.CannotRun, match="no runtime 'docker' any more"):
        task_definitions.arn_of(stack.services, identifier, "docker")
    client.call("DELETE", path)
    with pytest.raises(task_definitions.CannotRun, match="not in the registry any more"):
        task_definitions.arn_of(stack.services, identifier, "executable")


def test_of_two_task_definitions_at_once_both_launches_use_the_first_that_is_kept(
    stack: LocalStack, client: Client, name: str
) -> None:
    client.call("PUT", f"{REGISTRY}/local/{name}/1.0.0", toml(name), TOML)
    record = stack.services.registry.find(name, "1.0.0")
    assert record is not None
    assert stack.services.registry.keep_task_definition(record, "executable", "first") == "first"
    assert stack.services.registry.keep_task_definition(record, "executable", "second") == "first"


def test_a_delete_that_broke_off_is_hidden_and_can_be_finished_or_taken_back(
    stack: LocalStack, client: Client, name: str
) -> None:
    path = f"{REGISTRY}/local/{name}/1.0.0"
    client.call("PUT", path, toml(name), TOML)
    for end in ("PUT", "DELETE"):
        assert stack.services.registry.start_deleting(name, "1.0.0")
        assert client.call("GET", path).status == 404
        assert client.call("POST", "/api/v1/local/session", session(agent("a", name), namespace=name)).status == 400
        assert (
            client.call(end, path, toml(name) if end == "PUT" else None, TOML if end == "PUT" else None).status == 200
        )
        assert client.call("GET", path).status == (200 if end == "PUT" else 404)


def test_on_aws_an_agent_must_have_a_docker_runtime(stack: LocalStack, name: str) -> None:
    on_aws = Services(stack.services.settings.model_copy(update={"stage": "prod"}))
    with pytest.raises(BadRequest, match=r"only runtimes that AWS cannot run .*: add \[runtimes.docker\]"):
        registry.put(on_aws, toml(name).decode(), name, "1.0.0")
    both = agent_files.parse(toml(name, more="[runtimes.docker]\nimage = 'i'\ntransport = 'sse'").decode())
    with pytest.raises(BadRequest, match="cannot run as an executable on AWS"):
        registry.runtime_of(on_aws, both, "executable")
    with pytest.raises(BadRequest, match="speaks MCP over sse"):
        registry.runtime_of(on_aws, both, "docker")
