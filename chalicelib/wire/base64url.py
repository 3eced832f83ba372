"""Base64 in URLs and headers, without its padding (RFC 4648, section 5)."""

import base64


def encoded(raw: bytes) -> str:
    """Return bytes as text."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decoded(text: str) -> bytes:
    """Read what `encoded` wrote; raise ``ValueError`` for a character that is not one of the alphabet's."""
    if "+" in text or "/" in text:  # b64decode takes these as well, whatever the other letters are
        raise ValueError("letters of plain Base64")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
