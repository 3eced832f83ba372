"""Names and versions of agents at the edges of their limit, which counts bytes (`coral-agent.toml`, Coral 1.2)."""

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
def test_names_of_1_and_of_32_bytes(name: str) -> None:
    assert parse(name=name) == (name, "1.0.0")


@pytest.mark.parametrize("version", ["0.0.0", f"1.0.0-{'x' * 26}", f"1.0.0+{'0' * 26}", f"1.0.{'9' * 28}"])
def test_versions_of_up_to_32_bytes(version: str) -> None:
    assert parse(version=version) == ("a", version)


@pytest.mark.parametrize(
    ("field", "value"), [("name", "x" * 33), ("version", f"1.0.0-{'x' * 27}"), ("version", f"1.0.{'9' * 29}")]
)
def test_one_byte_more_is_refused(field: str, value: str) -> None:
    with pytest.raises(BadRequest, match=f"agent.{field} has 33 bytes: 1 to 32 are allowed"):
        parse(**{field: value})
