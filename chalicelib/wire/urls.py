"""Parses and checks the text of URLs that callers name, without calling them."""

import dataclasses
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

MAX_URL_LENGTH = 2_048


@dataclasses.dataclass(frozen=True)
class UrlParts:
    """The parts of a URL that a request needs; the host in ASCII, of an IPv6 address without its brackets."""

    scheme: str
    host: str
    port: int
    #: Path and query, as they were sent.
    target: str

    @classmethod
    def of(cls, url: str) -> "UrlParts":
        """Take a URL apart; raise ``ValueError`` naming the rule for one that cannot be called."""
        try:
            parts = urlsplit(url)
            port = parts.port
            host = (parts.hostname or "").encode("idna").decode("ascii")
        except ValueError as error:  # UnicodeError of a name that cannot be one is a ValueError too
            raise ValueError("this is not a URL that can be called") from error
        if parts.scheme not in ("http", "https") or not host or port == 0:
            raise ValueError("the URL must be http:// or https:// with a host")
        if parts.username is not None or parts.password is not None:
            raise ValueError("the URL must not carry credentials")
        path = parts.path or "/"
        target = f"{path}?{parts.query}" if parts.query else path
        return cls(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), target)


def _callable(url: str) -> str:
    if any(ord(letter) <= 32 or ord(letter) == 127 for letter in url):
        raise ValueError("the URL must not have spaces or control characters")
    UrlParts.of(url)
    return url


#: A URL that can be called, as far as its text says.
CallableUrl = Annotated[str, Field(min_length=1, max_length=MAX_URL_LENGTH), AfterValidator(_callable)]
