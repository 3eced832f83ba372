"""The file of `atoll run`: what the short form becomes, and which line is named for each fault."""

import json
from pathlib import Path
from typing import Any

import pytest

from atoll.calls import Answer
from atoll.command.session_file import FileFault, SessionFile, schema
from atoll.errors import NotFound
from atoll.models import RegistryAgentCatalog, RestrictedRegistryAgent
from atoll.sending import Place
from tests.cli_reference import SCHEMA

SEED = {
    "registryAgent": {
        "edition": 4,
        "info": {"identifier": {"name": "seed", "version": "1.10.0", "registrySourceId": {"type": "local"}}},
        "runtimes": {"executable": {"path": "seed"}, "docker": {"image": "seed"}},
        "options": {
            "COUNT": {"type": "u32", "default": 0},
            "NAMES": {"type": "list[string]"},
            "TEXT": {"type": "string"},
        },
    }
}


class Registry:
    """A client of a server with one agent."""

    def __init__(self, url: str = "http://localhost:5555") -> None:
        self.place = Place(url, "k")

    def registry(self) -> Any:
        return iter([RegistryAgentCatalog(name="seed", versions=["1.9.0", "1.10.0", "1.10.0-rc.1"])])

    def registry_agent(self, name: str, version: str) -> RestrictedRegistryAgent:
        if (name, version) != ("seed", "1.10.0"):
            raise NotFound(404, f"there is no {name} {version}", Answer(404, {}, b"").headers)
        return RestrictedRegistryAgent.model_validate(SEED)


def request_of(text: str, url: str = "http://localhost:5555") -> dict[str, Any]:
    made = SessionFile("s.yaml", text).request(Registry(url))  # type: ignore[arg-type]
    return made.model_dump(mode="json", by_alias=True, exclude_none=True)


FULL = """
namespace: shop
agents:
  ann: seed
  bob:
    agent: seed@1.10.0
    options: {COUNT: 3, NAMES: ann, TEXT: 1.5}
    prompt: Be brief.
    budget: {usd: 0.25, onReached: stop_agent}
    mayClose: true
    runtime: docker
groups: [[ann, bob]]
ttl: 1h30m
hold: 30s
budget: 1.50
webhook: https://example.com/hook
annotations: {team: red}
"""


def test_the_short_form_becomes_a_whole_request() -> None:
    made = request_of(FULL)
    ann, bob = made["agentGraphRequest"]["agents"]
    assert ann["id"] == {"name": "seed", "version": "1.10.0", "registrySourceId": {"type": "local"}}
    assert ann["provider"] == {"type": "local", "runtime": "executable"}
    assert bob["provider"]["runtime"] == "docker"
    assert bob["options"] == {
        "COUNT": {"type": "u32", "value": 3},
        "NAMES": {"type": "list[string]", "value": ["ann"]},
        "TEXT": {"type": "string", "value": "1.5"},
    }
    assert (bob["systemPrompt"], bob["plugins"]) == ("Be brief.", [{"type": "close_session_tool"}])
    assert bob["budget"] == {"usd": "0.25", "onReached": "stop_agent"}
    assert made["agentGraphRequest"]["groups"] == [["ann", "bob"]]
    assert made["agentGraphRequest"]["budget"] == {"usd": "1.5", "onReached": "refuse"}
    settings = made["execution"]["runtimeSettings"]
    assert (settings["ttl"], settings["persistenceMode"]) == (
        5_400_000,
        {"mode": "hold_after_exit", "duration": 30_000},
    )
    assert settings["webhooks"] == {"sessionEnd": {"url": "https://example.com/hook"}}
    assert made["namespaceProvider"]["namespaceRequest"]["name"] == "shop"
    assert made["annotations"] == {"team": "red"}


def test_by_default_all_agents_know_each_other_and_an_agent_elsewhere_is_a_container() -> None:
    made = request_of("agents: {a: seed, b: seed}", "https://api.example.com")
    assert made["agentGraphRequest"]["groups"] == [["a", "b"]]
    assert made["agentGraphRequest"]["agents"][0]["provider"]["runtime"] == "docker"


def test_the_whole_request_is_taken_as_it_is() -> None:
    whole = request_of("agents: {a: seed}")
    for text in (json.dumps(whole), json.dumps(whole, indent="\t")):
        assert request_of(text) == whole


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("agents:\n  a: seed\nagnets: 1\n", "s.yaml:3: agnets: there is no such key here"),
        ("agents:\n  a:\n    agent: seed\n    opt: 1\n", "s.yaml:4: agents.a.opt: there is no such key here"),
        ("agents:\n  a: seed\nttl: 10\n", "s.yaml:3: ttl: a time has units: 30s, 10m, 1h30m, 2d"),
        ("agents:\n  a: seed\nbudget:\n  usd: much\n", "s.yaml:4: budget.usd: 'much': a budget is 0 to"),
        ("namespace: x\n", "s.yaml:1: agents: Field required"),
        ("agents: {}\n", "s.yaml:1: agents: Dictionary should have at least 1 item"),
        ("agents:\n  a: nobody\n", "s.yaml:2: agents.a: there is no agent 'nobody' in the registry: seed"),
        ("agents:\n  a: seed@9.0.0\n", "s.yaml:2: agents.a: there is no seed 9.0.0"),
        ("agents:\n  a: seed\ngroups:\n- [a]\n- [a, b]\n", "s.yaml:5: groups.1.1: there is no agent 'b'"),
        (
            "agents:\n  a:\n    agent: seed\n    options:\n      COUNT: 1\n      X: 1\n",
            "s.yaml:6: agents.a.options.X: seed 1.10.0 has no such option: COUNT, NAMES, TEXT",
        ),
        (
            "agents:\n  a:\n    agent: seed\n    options:\n      COUNT: -1\n",
            "s.yaml:5: agents.a.options.COUNT: Input should be greater than or equal to 0",
        ),
        ("agents:\n  a: seed\n  a: seed\n", "s.yaml:3: a comes twice"),
        ("agents: [\n", "s.yaml:2: "),
        ("- a\n", "s.yaml:1: "),
        ("", "s.yaml: "),
        (
            '{"agentGraphRequest": {"agents": 1},\n "namespaceProvider": {"type": "use_existing", "name": ""}}',
            "s.yaml:1: ",
        ),
    ],
)
def test_a_fault_names_its_line(text: str, fault: str) -> None:
    with pytest.raises(FileFault) as caught:
        request_of(text)
    assert str(caught.value).startswith(fault)


def test_the_value_of_an_option_is_in_no_message() -> None:
    with pytest.raises(FileFault) as caught:
        request_of("agents:\n  a:\n    agent: seed\n    options: {COUNT: hunter2}\n")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    large, binary = tmp_path / "large", tmp_path / "binary"
    large.write_bytes(b" " * 1_000_001)
    binary.write_bytes(b"\xff\xfe\xff")
    for path, why in ((tmp_path / "none", "No such file"), (large, "more than 1000000 bytes"), (binary, "not UTF-8")):
        with pytest.raises(FileFault, match=f"{path}.*{why}"):
            SessionFile.read(path)


def test_the_published_schema_is_that_of_the_short_form() -> None:
    assert json.loads(SCHEMA.read_text()) == schema(), "write it: python -m tests.cli_reference"


def test_the_schema_takes_what_the_form_takes() -> None:
    import jsonschema
    import yaml

    jsonschema.validate(yaml.safe_load(FULL), schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"agents": {"a": "seed"}, "agnets": 1}, schema())
