"""Imports point one way (design, "Layout"), and knowledge stays where it belongs."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "chalicelib"

#: Each room, and the rooms it may import from besides itself.
ALLOWED = {
    "wire": {"wire"},
    "store": {"store", "wire", "clock", "settings"},
    "aws": {"aws", "wire", "clock", "settings", "store"},
    "domain": {"domain", "store", "aws", "wire", "clock", "settings", "deployment", "telemetry"},
    "mcp": {"mcp", "domain", "store", "wire", "clock", "settings", "deployment", "telemetry"},
    "api": {"api", "mcp", "domain", "store", "wire", "clock", "settings", "deployment", "telemetry", "version"},
    "workers": {"workers", "mcp", "domain", "store", "wire", "clock", "settings", "deployment", "telemetry"},
}


def modules() -> list[Path]:
    return sorted(path for path in LIBRARY.rglob("*.py") if path.parent != LIBRARY)


def imported(path: Path) -> Iterator[str]:
    """Every `chalicelib` module a file imports at run time, inside functions too; not for type checkers alone."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("chalicelib"):
            names = node.module.split(".")
            yield from [names[1]] if len(names) > 1 else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("chalicelib."))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_point_one_way(path: Path) -> None:
    room = path.relative_to(LIBRARY).parts[0]
    assert set(imported(path)) <= ALLOWED[room]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_only_the_store_knows_keys_and_expressions(path: Path) -> None:
    if path.relative_to(LIBRARY).parts[0] == "store":
        return
    text = path.read_text()
    assert not re.search(r"(KeyCondition|Update|Condition|Filter|Projection)Expression|begins_with\(#", text)
    assert not re.search(r"[\"'](AGENT|THREAD|EVENT|OPTIONS)#", text)


def test_code_that_answers_requests_calls_no_service_but_dynamodb() -> None:
    """Rule 1: the only exception is ending one agent, which also calls StopTask after its write."""
    offenders = [
        f"{path.relative_to(ROOT)}: {found}"
        for room in ("api", "mcp")
        for path in sorted((LIBRARY / room).rglob("*.py"))
        for found in re.findall(r"\.(?:machines|bus|tasks)\.\w+", path.read_text())
    ]
    assert not offenders
