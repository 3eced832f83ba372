"""Coral's RegistryAgentTest where no other test shows it: what an agent's file may say, asked by registering it."""

import json
from typing import Any

import pytest

from tests.client import Client

pytestmark = pytest.mark.xdist_group("coral")

TOML = {"Content-Type": "application/toml"}


@pytest.fixture
def puts(client: Client) -> Any:
    """Register an agent with more in its file, and return the status: ``puts("[options.A]", …)``."""
    head = 'edition = 4\n[runtimes.docker]\nimage = "myuser/myimage"\n[agent]\nname = "valid"\nversion = "1.0.0"'

    def put(*lines: str) -> int:
        return client.call("PUT", "/api/v1/registry/local/valid/1.0.0", "\n".join([head, *lines]).encode(), TOML).status

    return put


@pytest.mark.coral("RegistryAgentTest.testValidateLinks")
def test_validate_links(puts: Any) -> None:
    """Up to 16 links, each an https, mailto or tel URI under a name that begins with a letter."""

    def links(**links: str) -> int:
        status: int = puts("[agent.links]", *(f"{json.dumps(name)} = {json.dumps(uri)}" for name, uri in links.items()))
        return status

    assert links(github="https://example.com", email="mailto:test@example.com", phone="tel:+15555555555") == 200
    assert links(**{f"link{number}": f"https://example.com/{number}" for number in range(17)}) == 400
    for name in ("1bad", "a" * 33):
        assert links(**{name: "https://example.com"}) == 400
    for uri in ("http://example.com", "not a url", "https://example.com/" + "a" * 256):
        assert links(bad=uri) == 400


@pytest.mark.coral("RegistryAgentTest.testValidateExecutablePathLength")
def test_validate_executable_path_length(puts: Any) -> None:
    for path, status in (("my-agent", 200), ("", 400), ("a" * 4_097, 400)):
        assert puts("[runtimes.executable]", f'path = "{path}"', "arguments = []") == status


@pytest.mark.coral("RegistryAgentTest.testValidateOptionKeyName")
def test_validate_option_key_name(puts: Any) -> None:
    """The name of an option is one of an environment variable."""
    for name in ("A", "A1", "_A", "myOption", "myOption_2"):
        assert puts(f"[options.{name}]", 'type = "string"', 'default = "x"') == 200, name
    for name in ("", "1bad", "-bad", "a-bad", "a b", "\U0001f621", "a" * 257):
        assert puts(f'[options."{name}"]', 'type = "string"', 'default = "x"') == 400, name


@pytest.mark.coral("RegistryAgentTest.testValidateMarketplaceErc8004WalletAndEndpoints")
def test_validate_marketplace_erc8004_wallet_and_endpoints(puts: Any) -> None:
    """A wallet of 25 to 32 bytes in Base58, and up to 32 endpoints: https URIs under names."""
    wallet = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"

    def identified(wallet: str, endpoints: dict[str, str]) -> int:
        listed = ", ".join(f'{{ name = "{name}", endpoint = "{uri}" }}' for name, uri in endpoints.items())
        lines = ("[marketplace.identities.erc8004]", f'wallet = "{wallet}"', f"endpoints = [{listed}]")
        status: int = puts(*lines)
        return status

    good = {"endpoint1": "https://example.com/api"}
    assert identified(wallet, good) == 200
    for bad in ("this-is-not-base58!!!", "1" * 24, "1" * 33):
        assert identified(bad, good) == 400
    assert identified(wallet, {f"endpoint{number}": f"https://example.com/{number}" for number in range(33)}) == 400
    for name in ("a" * 33, "1bad"):
        assert identified(wallet, {name: "https://example.com/api"}) == 400
    for uri in ("https://example.com/" + "a" * 256, "http://example.com/api", "not a url"):
        assert identified(wallet, {"endpoint1": uri}) == 400


@pytest.fixture
def prototype(puts: Any) -> Any:
    """Register a prototype agent: ``prototype({"prompts.system.base": "a text"}, …)``."""

    def register(changes: dict[str, Any], *lines: str) -> int:
        table = {"proxy": "EXAMPLE_PROXY_NAME", **changes}
        status: int = puts(
            "[runtimes.prototype]", *(f"{key} = {inline(value)}" for key, value in table.items()), *lines
        )
        return status

    return register


def inline(value: Any) -> str:
    """Write a value on one line of TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {inline(each)}" for key, each in value.items()) + "}"
    return "[" + ", ".join(map(inline, value)) + "]" if isinstance(value, list) else json.dumps(value)


def composed(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"type": "composed_string", "parts": list(parts), **more}


def option(name: str) -> dict[str, Any]:
    return {"type": "option", "name": name}


@pytest.mark.coral("RegistryAgentTest.testValidatePrototypeRuntimePrompts")
def test_validate_prototype_runtime_prompts(prototype: Any) -> None:
    """Each prompt has its own limit, in bytes."""
    limits = {"system.base": 6, "system.extra": 3, "loop.initial.base": 6, "loop.initial.extra": 3, "loop.followup": 4}
    assert prototype({f"prompts.{path}": "a" * (kib * 1024) for path, kib in limits.items()}) == 200
    for path, kib in limits.items():
        assert prototype({f"prompts.{path}": "a" * (kib * 1024 + 1)}) == 400, path
        assert prototype({f"prompts.{path}": "ü" * (kib * 512 + 1)}) == 400, path


@pytest.mark.coral("RegistryAgentTest.testValidatePrototypeRuntimeToolServers")
def test_validate_prototype_runtime_tool_servers(prototype: Any) -> None:
    def served(url: str = "https://example.com", **auth: Any) -> int:
        server = {"type": "mcp_sse", "url": url, **({"auth": auth} if auth else {})}
        status: int = prototype({"tools": [server]})
        return status

    assert served("https://example.com/" + "a" * 236) == 200
    assert served("https://example.com/" + "a" * 237) == 400
    assert served("") == 400
    for kind, key in (("bearer", "token"), ("authorization_header", "header")):
        assert served(type=kind, **{key: "a" * 1024}) == 200
        assert served(type=kind, **{key: "a" * 1025}) == 400
        assert served(type=kind) == 400
    assert served(type="none") == 200
    assert served(type="basic") == 400
    assert prototype({"tools": [{"type": "mcp_pigeon", "url": "https://example.com"}]}) == 400


@pytest.mark.coral("RegistryAgentTest.testValidatePrototypeRuntimeMiscellaneous")
def test_validate_prototype_runtime_miscellaneous(prototype: Any) -> None:
    for changes in ({"iterations": 0}, {"delay": -1}, {"proxy": ""}, {"proxy": "A" * 33}, {"client": "pigeon"}):
        assert prototype(changes) == 400, changes
    assert prototype({"iterations": 1, "delay": 0, "client": "openrouter", "volatile": True}) == 200
    named = {"proxy": option("NAME")}
    assert prototype(named, "[options.NAME]", 'type = "string"', 'default = "gpt-5.1"') == 200
    assert prototype(named) == 400
    assert prototype(named, "[options.NAME]", 'type = "i32"') == 400


@pytest.mark.coral("RegistryAgentTest.testValidatePrototypeStringComposed")
def test_validate_prototype_string_composed(prototype: Any) -> None:
    def followup(*parts: Any, lines: tuple[str, ...] = (), **more: Any) -> int:
        status: int = prototype({"prompts.loop.followup": composed(*parts, **more)}, *lines)
        return status

    assert followup("gpt", "4", separator="-") == 200
    assert followup("gpt", composed("4", "o"), separator="-") == 200
    token = {"type": "query_parameter", "name": "token", "value": option("API_KEY")}
    url = {"type": "composed_url", "base": "https://my-server.com/mcp", "parts": [token]}
    server = {"tools": [{"type": "mcp_sse", "url": url}]}
    assert prototype(server, "[options.API_KEY]", 'type = "string"') == 200
    assert prototype(server) == 400
    assert followup("a" * 2048, "a" * 2048) == 200
    assert followup("a" * 2048, "a" * 2050) == 400
    assert followup("a" * 2048, composed("a" * 2050)) == 400
    assert followup(*"a" * 32) == 200
    assert followup(*"a" * 33) == 400
    assert followup("a", composed(*"a" * 16, composed(*"a" * 18))) == 400
    assert followup("gpt-", option("MISSING_OPTION")) == 400
    assert followup("gpt-", option("INT_OPTION"), lines=("[options.INT_OPTION]", 'type = "i32"')) == 400
