"""Option values that are secret are encrypted at rest, bound to their session and agent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import sealing
from chalicelib.domain.sealing import Unreadable

KEY = "a key of the deployment"
PLACE = {"session_id": "s", "agent": "a"}


@given(text=st.text(), session_id=st.text(max_size=40), agent=st.text(max_size=40))
def test_what_was_sealed_is_opened_as_it_was(text: str, session_id: str, agent: str) -> None:
    sealed = sealing.seal(KEY, text, session_id=session_id, agent=agent)
    assert sealing.opened([KEY], sealed, session_id=session_id, agent=agent) == text


def test_nothing_of_a_value_is_in_what_is_stored() -> None:
    sealed = sealing.seal(KEY, "hunter22" * 100, **PLACE)
    assert b"hunter22" not in sealed
    assert len(sealed) == 800 + sealing.MORE_BYTES


def test_the_same_value_is_never_stored_alike() -> None:
    assert sealing.seal(KEY, "hunter22", **PLACE) != sealing.seal(KEY, "hunter22", **PLACE)


@pytest.mark.parametrize("other", [{"session_id": "t"}, {"agent": "b"}, {"session_id": "sa", "agent": ""}])
def test_a_value_of_another_session_or_agent_is_refused(other: dict[str, str]) -> None:
    sealed = sealing.seal(KEY, "hunter22", **PLACE)
    with pytest.raises(Unreadable, match="do not belong to"):
        sealing.opened([KEY], sealed, **{**PLACE, **other})


@pytest.mark.parametrize("place", [0, 1, 8, 9, 20, 21, -17, -1])
def test_a_changed_byte_is_refused(place: int) -> None:
    sealed = bytearray(sealing.seal(KEY, "hunter22", **PLACE))
    sealed[place] ^= 1
    with pytest.raises(Unreadable):
        sealing.opened([KEY], bytes(sealed), **PLACE)


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x01" + b"x" * 20, b"\x02" + b"x" * 80])
def test_what_is_no_sealed_value_is_refused(sealed: bytes) -> None:
    with pytest.raises(Unreadable):
        sealing.opened([KEY], sealed, **PLACE)


def test_the_key_that_a_value_was_sealed_with_is_found_among_all() -> None:
    sealed = sealing.seal("old", "hunter22", **PLACE)
    assert sealing.opened(["new", "old"], sealed, **PLACE) == "hunter22"
    with pytest.raises(Unreadable, match="is not among those of this deployment"):
        sealing.opened(["new"], sealed, **PLACE)


def test_no_error_names_a_value_or_a_key() -> None:
    sealed = sealing.seal(KEY, "hunter22", **PLACE)
    for keys, place in (([], PLACE), ([KEY], {**PLACE, "agent": "b"})):
        with pytest.raises(Unreadable) as caught:
            sealing.opened(keys, sealed, **place)
        assert "hunter22" not in repr(caught.value)
        assert KEY not in repr(caught.value)
