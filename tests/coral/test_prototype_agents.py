"""Coral's tests of a prototype agent's numbers and texts: what the registry makes of its file."""

from pathlib import Path
from typing import Any

import pytest

from chalicelib.domain import prototypes
from chalicelib.wire.registry import RegistryAgent
from infra.local.stack import LocalStack
from tests.client import Client

pytestmark = pytest.mark.xdist_group("coral")

TOML = {"Content-Type": "application/toml"}
HEAD = """
edition = 4
[agent]
name = "proto"
version = "0.0.1"
[[llm.proxies]]
name = "TEST"
format.type = "OpenAI"
[runtimes.docker]
image = "a"
[runtimes.prototype]
proxy = "TEST"
"""
PATH = "/api/v1/registry/local/proto/0.0.1"


@pytest.fixture
def registered(client: Client) -> Any:
    """Register a prototype agent with more in its table; return the status, and its runtime as the registry has it."""

    def register(*lines: str) -> tuple[int, Any]:
        answer = client.call("PUT", PATH, "\n".join([HEAD, *lines]).encode(), TOML)
        if answer.status != 200:
            return answer.status, answer.body
        return 200, client.call("GET", PATH).body["registryAgent"]["runtimes"]["prototype"]

    return register


@pytest.mark.coral("PrototypeIntegerSerializerTest.testInlineSerialization")
def test_a_number_is_written_in_two_ways(registered: Any) -> None:
    for written in ("101", '{ type = "inline", value = 101 }'):
        status, runtime = registered(f"iterations = {written}")
        assert (status, runtime["iterations"]) == (200, {"type": "inline", "value": 101})


INTEGERS = {
    "i8": ("Byte", 2**7 - 1),
    "i16": ("Short", 2**15 - 1),
    "i32": ("Int", 2**31 - 1),
    "i64": ("Long", 2**63 - 1),
    "u8": ("UByte", 2**8 - 1),
    "u16": ("UShort", 2**16 - 1),
    "u32": ("UInt", 2**32 - 1),
    "u64": ("ULong", 2**64 - 1),
}


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param(
            kind, value, marks=pytest.mark.coral(f"PrototypeIntegerSerializerTest.testOptionSerialization{name}")
        )
        for kind, (name, value) in INTEGERS.items()
    ],
)
def test_a_number_may_be_an_option(registered: Any, client: Client, kind: str, value: int) -> None:
    option = {"type": "option", "name": "ITERATIONS"}
    status, runtime = registered(
        'iterations = { type = "option", name = "ITERATIONS" }', "[options.ITERATIONS]", f'type = "{kind}"'
    )
    assert (status, runtime["iterations"]) == (200, option)
    agent = RegistryAgent.model_validate(client.call("GET", PATH).body["registryAgent"])
    assert agent.runtimes.prototype is not None
    assert prototypes.integer_of(agent.runtimes.prototype.iterations, {"ITERATIONS": value}, low=1) == value


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.coral(f"PrototypeIntegerSerializerTest.testOptionSerialization{name}"))
        for kind, name in {"f32": "Float", "f64": "Double", "string": "String"}.items()
    ],
)
def test_a_number_may_be_no_other_option(registered: Any, kind: str) -> None:
    status, body = registered(
        'iterations = { type = "option", name = "ITERATIONS" }', "[options.ITERATIONS]", f'type = "{kind}"'
    )
    assert (status, f"of type {kind}" in body["message"]) == (400, True)


@pytest.mark.coral("PrototypeStringSerializerTest.testFullPrototypeString")
def test_texts_are_written_in_every_way(stack: LocalStack, client: Client, tmp_path: Path) -> None:
    (tmp_path / "PROMPT.MD").write_text("from a file\n")
    (tmp_path / "coral-agent.toml").write_text(
        HEAD
        + """
        [runtimes.prototype.prompts.system]
        base = { type = "inline", value = "base system prompt" }
        extra = { type = "option", name = "EXTRA_SYSTEM_PROMPT" }
        [runtimes.prototype.prompts.loop]
        initial.base = { type = "string", value = "base initial loop prompt" }
        initial.extra = { type = "file", path = "PROMPT.MD" }
        [options.EXTRA_SYSTEM_PROMPT]
        type = "string"
        """
    )
    stack.register(tmp_path)
    runtime = client.call("GET", PATH).body["registryAgent"]["runtimes"]["prototype"]
    assert runtime["proxy"] == {"type": "inline", "value": "TEST"}
    assert runtime["prompts"]["system"] == {
        "base": {"type": "inline", "value": "base system prompt"},
        "extra": {"type": "option", "name": "EXTRA_SYSTEM_PROMPT"},
    }
    assert runtime["prompts"]["loop"]["initial"] == {
        "base": {"type": "inline", "value": "base initial loop prompt"},
        "extra": {"type": "inline", "value": "from a file\n"},
    }
    assert client.call("DELETE", PATH).status == 200
