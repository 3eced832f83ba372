"""Coral Server's own tests and where Atoll stands with each, as `suite.toml` says it."""

import dataclasses
import tomllib
from pathlib import Path

TABLE = Path(__file__).with_name("suite.toml")

#: What can be said of a test, and what that means.
VERDICTS = {
    "pass": "a test of Atoll shows the same",
    "differs": "Atoll does otherwise, by decision",
    "waits": "Atoll lacks what it needs",
    "in_process": "no client could drive it",
}

#: What a test may wait for, and what that is.
PARTS = {
    "a provider's key": "the key of a model's provider",
    "variables": "variables that the operator gives to every agent",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One of Coral's tests."""

    #: ``SessionApiTest.testSessionTtl``.
    name: str
    verdict: str
    #: Ids of the tests of Atoll that show the same, as pytest names them.
    tests: tuple[str, ...]
    #: What is otherwise where it passes (or nothing); else why it does not.
    why: str

    @property
    def class_name(self) -> str:
        """The class that it belongs to."""
        return self.name.split(".")[0]


def rows() -> list[Row]:
    """Return Coral's tests, class by class. Raises ``ValueError`` for one of whom not exactly one thing is said."""
    table = tomllib.loads(TABLE.read_text())
    return [_row(f"{name}.{test}", said) for name, tests in table.items() for test, said in tests.items()]


def _row(name: str, said: dict[str, str | list[str]]) -> Row:
    verdicts = [verdict for verdict in VERDICTS if verdict in said]
    if len(verdicts) != 1 or said.keys() - {*verdicts, "but"} or ("but" in said and "pass" not in said):
        raise ValueError(f"{name} must have one of {', '.join(VERDICTS)} (and beside pass perhaps but), not {said}")
    if "pass" in said:
        return Row(name, "pass", tuple(said["pass"]), str(said.get("but", "")))
    return Row(name, verdicts[0], (), str(said[verdicts[0]]))
