"""Coral's AgentOptionsTest: options of all types, and the values that their rules let through.

Coral asks its classes; a client registers an agent and asks for sessions of it.
"""

import json
import sys
from typing import Any

import pytest

from tests.client import Client, agent, session

pytestmark = pytest.mark.xdist_group("coral")

TOML = {"Content-Type": "application/toml"}


def register(client: Client, options: str) -> dict[str, Any]:
    """Register an agent with these options and return those that the registry answers."""
    head = 'edition = 4\n[agent]\nname = "options"\nversion = "1.0.0"\n[runtimes.executable]\npath = "true"\n'
    answer = client.call("PUT", "/api/v1/registry/local/options/1.0.0", f"{head}{options}".encode(), TOML)
    assert answer.status == 200, answer
    return dict(answer.body["registryAgent"]["options"])


def asked(client: Client, kind: str, value: Any) -> int:
    """Ask for a session in which the option X has a value; return the status."""
    request = session(agent("a", "options", X=(kind, value)), namespace="options", defer=True)
    return client.call("POST", "/api/v1/local/session", request).status


@pytest.mark.coral("AgentOptionsTest.testString")
def test_string(client: Client) -> None:
    """All that can be said of a string is answered as it was said, but for the default of a secret."""
    option = {
        "type": "string",
        "secret": True,
        "required": True,
        "base64": True,
        "transport": "env",
        "display": {"label": "Test Option", "description": "d", "group": "Test Group", "multiline": False},
        "validation": {"variants": ["test1", "test2"], "min_length": 1, "max_length": 100},
    }
    written = """
        [options.X]
        type = "string"
        secret = true
        default = "test1"
        required = true
        base64 = true
        display = { label = "Test Option", description = "d", group = "Test Group", multiline = false }
        validation = { variants = ["test1", "test2"], min_length = 1, max_length = 100 }
    """
    assert register(client, written)["X"] == option
    without = session(agent("a", "options"), namespace="options", defer=True)
    assert client.call("POST", "/api/v1/local/session", without).status == 200, "it has its default"


INTEGERS = {f"{sign}{bits}": bits for sign in "iu" for bits in (8, 16, 32, 64)}


@pytest.mark.coral("AgentOptionsTest.testNumeric")
def test_numeric(client: Client) -> None:
    """The least and the greatest number of each type are defaults, alone and in lists."""
    least = {kind: -(2 ** (bits - 1)) if kind.startswith("i") else 0 for kind, bits in INTEGERS.items()}
    most = {kind: 2 ** (bits - (kind[0] == "i")) - 1 for kind, bits in INTEGERS.items()}
    least |= {"f32": -1.0, "f64": -sys.float_info.max}
    most |= {"f32": 1.0, "f64": sys.float_info.max}
    defaults: dict[str, Any] = {}
    for kind in least:
        as_text = str if kind == "u64" else (lambda number: number)  # as Coral writes and reads them
        defaults[kind] = as_text(most[kind])
        defaults[f"list[{kind}]"] = [as_text(least[kind]), as_text(most[kind])]
    written = [
        f'[options.O{place}]\ntype = "{kind}"\ndefault = {json.dumps(value)}'
        for place, (kind, value) in enumerate(defaults.items())
    ]
    found = register(client, "\n".join(written))
    assert {option["type"]: option["default"] for option in found.values()} == defaults


EMAIL = r"^[\w-\.]+@([\w-]+\.)+[\w-]{2,4}$"

#: Per test of Coral's: the option, and values with whether they are taken.
VALIDATIONS: list[Any] = [
    pytest.param(
        "i32",
        {"min": 10, "max": 100, "variants": [50, 9, 101]},
        {50: 200, 9: 400, 101: 400, 70: 400}.items(),
        marks=pytest.mark.coral("AgentOptionsTest.testValidateNumber"),
        id="number",
    ),
    pytest.param(
        "list[i32]",
        {"min": 10, "max": 100, "variants": [10, 20, 30]},
        [([10, 20, 30], 200), ([1000, 0], 400), ([40, 50, 60], 400)],
        marks=pytest.mark.coral("AgentOptionsTest.testValidateNumberList"),
        id="numbers",
    ),
    pytest.param(
        "string",
        {"min_length": 10, "max_length": 30, "regex": EMAIL, "variants": ["test@test.com", "not an email", "a@a.se"]},
        {"test@test.com": 200, "not an email": 400, "a@a.se": 400, "bad@email.com": 400}.items(),
        marks=pytest.mark.coral("AgentOptionsTest.testValidateString"),
        id="string",
    ),
    pytest.param(
        "list[string]",
        {"regex": EMAIL},
        [(["test@test.com", "a@a.se", "good@email.com"], 200), (["bad-email.com", "good@email.com"], 400)],
        marks=pytest.mark.coral("AgentOptionsTest.testValidateStringList"),
        id="strings",
    ),
    pytest.param(
        "i32",
        {"max": 100},
        {0: 200, 99: 200, -(2**31): 200, 101: 400}.items(),
        marks=pytest.mark.coral("AgentOptionsTest.testPartialNumericValidation"),
        id="one bound",
    ),
    pytest.param(
        "u64",
        {"min": "1", "max": str(2**64 - 2)},
        {"50": 200, "0": 400, str(2**64 - 1): 400}.items(),
        marks=pytest.mark.coral("AgentOptionsTest.testValidateStringU64"),
        id="u64",
    ),
]


@pytest.mark.parametrize(("kind", "validation", "values"), VALIDATIONS)
def test_validate(client: Client, kind: str, validation: dict[str, Any], values: Any) -> None:
    rules = "\n".join(f"validation.{rule} = {json.dumps(value)}" for rule, value in validation.items())
    register(client, f'[options.X]\ntype = "{kind}"\n{rules}')
    assert [(value, asked(client, kind, value)) for value, _ in values] == list(values)
