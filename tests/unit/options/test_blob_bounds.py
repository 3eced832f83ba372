"""The least and the greatest size of a blob, to the byte: both are allowed, in a list for each entry."""

import base64

import pytest

from chalicelib.domain import agent_files
from chalicelib.domain.errors import BadRequest
from chalicelib.wire.options import BlobAgentOptionValidation, BlobOption
from chalicelib.wire.registry import RegistryAgent
from tests.unit.options.agents import read, resolved

BOUNDS = """
        validation.min_size = { size = 2, unit = "b" }
        validation.max_size = { size = 1.5, unit = "KiB" }
"""
LEAST, MOST = 2, 1536


def resolve(kind: str, *sizes: int) -> object:
    """Give an option blobs of these sizes; return what an agent gets."""
    blobs = [base64.b64encode(b"x" * size).decode() for size in sizes]
    value = blobs if kind.startswith("list[") else blobs[0]
    return resolved(f'type = "{kind}"', read(kind, value), more=BOUNDS).by_name["X"].value


@pytest.mark.parametrize("size", [LEAST, MOST])
def test_a_blob_may_be_as_small_and_as_large_as_is_said(size: int) -> None:
    assert resolve("blob", size) == b"x" * size
    assert resolve("list[blob]", LEAST, size) == [b"x" * LEAST, b"x" * size]


@pytest.mark.parametrize(
    ("size", "said"),
    [(LEAST - 1, r"at least 2 bytes \(2 B\)"), (MOST + 1, r"at most 1536 bytes \(1\.5 KiB\)"), (0, "at least 2")],
)
@pytest.mark.parametrize("kind", ["blob", "list[blob]"])
def test_a_byte_less_and_a_byte_more_are_refused_and_the_blob_is_not_shown(kind: str, size: int, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as caught:
        resolve(kind, *([LEAST, size] if kind == "list[blob]" else [size]))
    assert "eHh4" not in str(caught.value)


@pytest.mark.parametrize(
    ("bound", "allowed", "refused"), [("min_size", LEAST, LEAST - 1), ("max_size", LEAST, LEAST + 1)]
)
def test_one_bound_alone_leaves_the_other_side_open(bound: str, allowed: int, refused: int) -> None:
    more = f'validation.{bound} = {{ size = {LEAST}, unit = "b" }}'
    for size in (allowed, 0 if bound == "max_size" else 5_000):
        blob = base64.b64encode(b"x" * size).decode()
        assert resolved('type = "blob"', read("blob", blob), more=more).by_name["X"].value == b"x" * size
    with pytest.raises(BadRequest):
        resolved('type = "blob"', read("blob", base64.b64encode(b"x" * refused).decode()), more=more)


def bounded(size: str) -> RegistryAgent:
    """Return an agent with a blob that may have this size at most."""
    head = 'edition = 4\n[agent]\nname = "a"\nversion = "1.0.0"\n[runtimes.docker]\nimage = "a"\n[options.X]\n'
    return agent_files.parse(f'{head}type = "blob"\nvalidation.max_size = {size}')


SIZES: list[tuple[str, int, str]] = [
    ("'1.5 MiB'", 1_572_864, "1.5 MiB"),
    ("'10KB'", 10_000, "10 KB"),
    ("'10kb'", 10_000, "10 KB"),
    ("' 7  b '", 7, "7 B"),
    ("'0.5 gib'", 2**29, "0.5 GiB"),
    ("'1000000 GB'", 10**15, "1000000 GB"),
    ("{ size = 1.01, unit = 'kB' }", 1_010, "1.01 KB"),
    ("{ size = 2, unit = 'MiB' }", 2**21, "2 MiB"),
    ("{ size = 1.5, unit = 'TiB' }", 3 * 2**39, "1536 GiB"),
]


def most_of(agent: RegistryAgent) -> int:
    """Return the largest size, in bytes, that the option X may have."""
    option = agent.options["X"]
    assert isinstance(option, BlobOption)
    assert option.validation is not None
    assert option.validation.max_size is not None
    return option.validation.max_size.byte_count


@pytest.mark.parametrize(("written", "size", "answered"), SIZES)
def test_a_size_is_read_in_both_forms_and_answered_as_text(written: str, size: int, answered: str) -> None:
    agent = bounded(written)
    assert most_of(agent) == size
    assert agent.to_wire()["options"]["X"]["validation"] == {"max_size": answered}
    stored = RegistryAgent.model_validate_json(agent.model_dump_json(by_alias=True, exclude_none=True))
    assert most_of(stored) == size


@pytest.mark.parametrize("written", ["'MiB'", "'1'", "'-1 B'", "'1 XB'", "'1e3 B'", "'1 B B'", "7", "''"])
def test_what_is_no_size_is_refused(written: str) -> None:
    with pytest.raises(BadRequest, match=r"options\.X\.blob\.validation\.max_size"):
        bounded(written)


def test_a_size_that_was_stored_with_its_bytes_is_read() -> None:
    stored = {"size": 1.5, "unit": "kB", "byteCount": 1500}
    validation = BlobAgentOptionValidation.model_validate({"max_size": stored})
    assert validation.to_wire() == {"max_size": "1.5 KB"}
