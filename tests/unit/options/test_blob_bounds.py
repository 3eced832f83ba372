"""The least and the greatest size of a blob, to the byte: both are allowed, in a list for each entry."""

import base64

import pytest

from chalicelib.domain.errors import BadRequest
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
    [(LEAST - 1, r"at least 2 bytes \(2 b\)"), (MOST + 1, r"at most 1536 bytes \(1\.5 KiB\)"), (0, "at least 2")],
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
