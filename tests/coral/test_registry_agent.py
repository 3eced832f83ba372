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
