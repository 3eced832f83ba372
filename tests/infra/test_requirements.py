"""What is installed is what was locked: everything pinned and hashed, and what is carried has its licence listed."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

LOCKED = ["requirements", "requirements-dev", "requirements-tools", "requirements-installer", "agents/requirements"]

_PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)


def pins(path: str) -> dict[str, str]:
    """Return the versions that a file pins, by the plain names of the packages."""
    return {re.sub("[_.]", "-", name.lower()): version for name, version in _PIN.findall((ROOT / path).read_text())}


@pytest.mark.parametrize("name", LOCKED)
def test_everything_that_is_asked_for_is_locked(name: str) -> None:
    """`make lock` was not forgotten after a change of requirements*.in."""
    asked = pins(f"{name}.in")
    assert asked
    assert asked.items() <= pins(f"{name}.txt").items()


@pytest.mark.parametrize("name", LOCKED)
def test_everything_that_is_locked_has_hashes_and_names_no_index(name: str) -> None:
    lines = (ROOT / f"{name}.txt").read_text().replace("\\\n", "").splitlines()
    requirements = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert [line for line in requirements if not re.match(r"[A-Za-z0-9].*==.* --hash=sha256:[0-9a-f]{64}", line)] == []
    assert [line for line in lines if "://" in line] == []


@pytest.mark.parametrize("carried", ["requirements.txt", "agents/requirements.txt"], ids=["Lambda", "agents' images"])
def test_tests_run_on_the_versions_that_are_carried(carried: str) -> None:
    assert pins(carried).items() <= pins("requirements-dev.txt").items()


def test_the_licence_of_all_that_is_carried_is_listed() -> None:
    """`make licences` was not forgotten after a change of requirements.txt."""
    rows = re.findall(r"^\| (\S+) +\| (\S+) +\| ([^|]*\S) +\|", (ROOT / "docs/licences.md").read_text(), re.MULTILINE)
    listed = {re.sub("[_.]", "-", name.lower()): version for name, version, _ in rows if name != "Name"}
    assert listed == pins("requirements.txt")
    assert [name for name, _, licence in rows if licence == "UNKNOWN"] == []
