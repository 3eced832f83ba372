"""Names and versions of agents at the edges of their limit, which counts characters (`coral-agent.toml`, Coral 1.2)."""

import pytest

from chalicelib.domain import agent_files
from chalicelib.domain.errors import BadRequest


def parse(name: str = "a", version: str = "1.0.0") -> tuple[str, str]:
    """Read a file with this name and version; return both as they are stored."""
    text = f"""
        edition = 4
        [agent]
        name = "{name}"
        version = "{version}"
        [runtimes.docker]
        image = "a"
    """
    identifier = agent_files.parse(text).info.identifier
    return identifier.name, identifier.version


@pytest.mark.parametrize("name", ["x", "x" * 32, "-".join(["x" * 15, "y" * 16])])
def test_names_of_1_and_of_32_characters(name: str) -> None:
    assert parse(name=name) == (name, "1.0.0")


@pytest.mark.parametrize("version", ["0.0.0", f"1.0.0-{'x' * 18}", f"1.0.0+{'0' * 18}", f"1.0.{'9' * 20}"])
def test_versions_of_up_to_24_characters(version: str) -> None:
    assert parse(version=version) == ("a", version)


@pytest.mark.parametrize(
    ("field", "value", "most"),
    [("name", "x" * 33, 32), ("version", f"1.0.0-{'x' * 19}", 24), ("version", f"1.0.{'9' * 21}", 24)],
)
def test_one_character_more_is_refused(field: str, value: str, most: int) -> None:
    with pytest.raises(BadRequest, match=f"agent.{field} has {most + 1} characters: 1 to {most} are allowed"):
        parse(**{field: value})
