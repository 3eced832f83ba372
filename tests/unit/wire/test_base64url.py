"""What is in URLs and headers is read only as it was written."""

import pytest

from chalicelib.wire import base64url


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\xfb\xff", b"any \xbf?"])
def test_what_was_written_is_read(raw: bytes) -> None:
    assert base64url.decoded(base64url.encoded(raw)) == raw


@pytest.mark.parametrize("text", ["0+00", "0/00", "0.00", "0 00", "ü"])
def test_letters_of_no_url_are_refused(text: str) -> None:
    """Python up to 3.14 takes those of plain Base64 as well, and 3.15 warns of them."""
    with pytest.raises(ValueError):  # noqa: PT011  # its text is Python's
        base64url.decoded(text)
