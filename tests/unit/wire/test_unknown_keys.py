"""Keys that no model knows are named, with what may have been meant; what is known, in whatever spelling, is not."""

import difflib
from typing import Any

import pytest

from chalicelib.domain import agent_files
from chalicelib.domain.errors import BadRequest
from chalicelib.wire.requests import SessionRequest
from chalicelib.wire.unknown_keys import MOST_NAMED, warning_of

WHOLE: dict[str, Any] = {
    "agentGraphRequest": {
        "agents": [
            {
                "id": {"name": "echo", "version": "1.0.0", "registrySourceId": {"type": "local"}},
                "name": "bob",
                "provider": {"type": "local", "runtime": "executable"},
                "options": {"ANY": {"type": "u64", "value": "1"}, "LIST": {"type": "list[string]", "value": ["a"]}},
                "plugins": [{"type": "close_session_tool"}],
                "x402Budgets": [],
                "proxies": {"MAIN": {"configurationName": "a", "modelName": "b"}},
                "budget": {"usd": "0.50", "onReached": "refuse"},
                "annotations": {"any": "text"},
            }
        ],
        "groups": [["bob"]],
        "customTools": {
            "any": {
                "transport": {"type": "http", "url": "https://example.com"},
                "schema": {"type": "object", "properties": {}, "additionalProperties": False},
                "outputSchema": {"$defs": {}},
            }
        },
    },
    "namespaceProvider": {"type": "create_if_not_exists", "namespaceRequest": {"name": "n", "annotations": {"a": "b"}}},
    "execution": {
        "mode": "immediate",
        "runtimeSettings": {
            "ttl": 1,
            "persistenceMode": {"mode": "hold_after_exit", "duration": 1},
            "webhooks": {"sessionEnd": {"url": "https://example.com"}},
        },
    },
}

FILE = """
edition = 4
[agent]
name = "a"
version = "1.0.0"
description = { type = "file", path = "elsewhere" }
[runtimes.executable]
path = "a"
[options.SIZE]
type = "u32"
default = 1
validation = { min = 1, max = 9 }
"""


def warned(document: Any) -> str | None:
    return warning_of(document, SessionRequest.model_validate(document))


def test_what_is_known_is_not_warned_of() -> None:
    assert warned(WHOLE) is None


def test_an_unknown_key_is_named_with_its_place_and_what_may_be_meant() -> None:
    (agent,) = WHOLE["agentGraphRequest"]["agents"]
    graph = WHOLE["agentGraphRequest"] | {"agents": [agent | {"system_promt": "x"}]}
    assert warned(WHOLE | {"executoin": {}, "webhook": 1, "agentGraphRequest": graph}) == (
        "not known, and without effect: agentGraphRequest.agents[0].system_promt (is systemPrompt meant?), "
        "executoin, webhook"
    )
    short = {name: value for name, value in WHOLE.items() if name != "execution"}
    assert warned(short | {"executoin": {}}) == "not known, and without effect: executoin (is execution meant?)"


def test_a_warning_is_a_header_of_bounded_size_without_values() -> None:
    text = warned(WHOLE | {f"clé\r\n{'x' * 200}{number}": "a value" for number in range(9)})
    assert text is not None
    assert text.isascii()
    assert text.isprintable()
    assert text.endswith("and 4 more")
    assert len(text) < 600
    assert "a value" not in text


def test_what_may_be_meant_is_looked_for_only_where_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def look(key: str, *_: Any, **__: Any) -> list[str]:
        looked.append(key)
        return []

    monkeypatch.setattr(difflib, "get_close_matches", look)
    text = warned(WHOLE | {f"key{number}": 1 for number in range(100_000)})
    assert text is not None
    assert text.endswith("and 99995 more")
    assert len(looked) == MOST_NAMED


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("", None),
        ("secert = true", "options.SIZE.secert"),
        ("validation.minimum = 1", "options.SIZE.validation.minimum (is min meant?)"),
        ("display.label = 'x'", None),
    ],
)
def test_keys_of_an_agents_file(line: str, named: str | None) -> None:
    text = FILE + line + "\n"
    if "validation." in line:
        text = text.replace("validation = { min = 1, max = 9 }\n", "validation.max = 9\n")
    assert agent_files.warning_of(text) == (named and f"not known, and without effect: {named}")


def test_a_default_that_its_own_validation_refuses_is_refused_at_registration() -> None:
    text = FILE.replace('{ type = "file", path = "elsewhere" }', '"x"')
    assert agent_files.parse(text)
    with pytest.raises(BadRequest, match=r"options.SIZE.default must be at least 1"):
        agent_files.parse(text.replace("default = 1", "default = 0"))
