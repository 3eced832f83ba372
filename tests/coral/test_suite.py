"""The table of Coral's tests is whole, and what it says is shown is shown."""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.coral import suite

ROOT = Path(__file__).parents[2]


def marks_of(at: Any) -> list[Any]:
    """Return the marks of a module, a class or a function."""
    marks = getattr(at, "pytestmark", [])
    return list(marks) if isinstance(marks, list) else [marks]


def found(test_id: str) -> Any:
    """Return the function that pytest collects under an id; fail when there is none, or it may be left out."""
    path, *names = test_id.split("::")
    assert path.rsplit("/", 1)[1].startswith("test_"), f"{test_id}: pytest looks into no such file"
    assert (ROOT / path).exists(), f"{test_id}: there is no such file"
    at: Any = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    for name in names:
        assert not {"skip", "skipif", "xfail"} & {mark.name for mark in marks_of(at)}, f"{test_id} may be left out"
        at = getattr(at, name, None)
        assert at is not None, f"{test_id} is not there"
        assert name.startswith(("test_", "Test")), f"{test_id}: pytest collects no {name}"
    return at


def claims() -> Iterator[tuple[str, str]]:
    """Yield what the tests of this folder are marked with: a name of Coral's, and the test's id."""
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        module = importlib.import_module(f"tests.coral.{path.stem}")
        for name, test in vars(module).items():
            cases = [case for mark in marks_of(test) if mark.name == "parametrize" for case in mark.args[1]]
            for mark in [*marks_of(test), *(mark for case in cases for mark in getattr(case, "marks", ()))]:
                if mark.name == "coral":
                    yield mark.args[0], f"{path.relative_to(ROOT)}::{name}"


def test_all_of_corals_tests_are_in_the_table() -> None:
    assert len({row.name for row in suite.rows()}) == 196
    assert all(row.why or row.verdict == "pass" for row in suite.rows())
    assert {row.why for row in suite.rows() if row.verdict == "waits"} == set(suite.PARTS)


@pytest.mark.parametrize("row", [row for row in suite.rows() if row.verdict == "pass"], ids=lambda row: row.name)
def test_what_passes_names_tests_that_are_there(row: suite.Row) -> None:
    assert row.tests
    for test_id in row.tests:
        assert callable(found(test_id))


def test_the_marks_and_the_table_say_the_same() -> None:
    in_table = {(row.name, each) for row in suite.rows() for each in row.tests if each.startswith("tests/coral/")}
    assert set(claims()) == in_table


@pytest.mark.parametrize("said", [{}, {"waits": "x", "differs": "y"}, {"waits": "x", "but": "y"}, {"passes": ["x"]}])
def test_a_row_says_one_thing(said: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must have one of"):
        suite._row("A.test", said)
