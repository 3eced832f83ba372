"""How a request is sent: where to, with which key, and when it is sent again. Nothing here does I/O."""

import dataclasses
import os
import warnings
from typing import Any
from urllib.parse import urlsplit

import httpx2

from atoll.calls import WARNING_HEADER, Answer, Call
from atoll.errors import AtollError, AtollWarning, Unreachable
from atoll.version import VERSION

#: Where the stack of this machine is, and its key.
LOCAL_URL = "http://localhost:5555"
LOCAL_KEY = "dev"

LOOPBACK = ("localhost", "127.0.0.1", "::1")

#: How long an answer may take, in s: API Gateway ends a request after 29 s.
TIMEOUT_S = 35.0

#: Pauses before a request is sent again, in s, and the longest that a server may ask for.
PAUSES_S = (0.2, 1.0, 3.0)
LONGEST_RETRY_AFTER_S = 20.0

#: What is answered when a request may be sent again; after a 429 nothing was done.
REFUSED_FOR_NOW = 429
BUSY = (502, 503, 504)


@dataclasses.dataclass(frozen=True)
class Place:
    """A server and the key for it."""

    url: str
    key: str

    @classmethod
    def of(cls, url: str | None, key: str | None) -> "Place":
        """Take what is given, or else the environment's, or else the stack of this machine.

        Raises `AtollError` for what is no URL, and for another machine's without a key.
        """
        url = (url or os.environ.get("ATOLL_URL") or LOCAL_URL).rstrip("/")
        key = key or os.environ.get("ATOLL_API_KEY")
        try:
            parts = urlsplit(url)
            host = parts.hostname
        except ValueError:
            host = None
        if not host or parts.scheme not in ("http", "https"):
            raise AtollError(f"{url!r} is not the URL of a server: it begins with http:// or https:// and a host")
        if key is None and host not in LOOPBACK:
            raise AtollError(f"there is no API key for {url}: set ATOLL_API_KEY")
        # In lower case, as all that looks at it expects: whether there is TLS to verify, and where the sockets are.
        return cls(parts.scheme + url[len(parts.scheme) :], key or LOCAL_KEY)

    def options(self, transport: Any) -> dict[str, Any]:
        """Return the arguments of an HTTP client for it."""
        headers = {"Authorization": f"Bearer {self.key}", "User-Agent": f"atoll-python/{VERSION}"}
        # Loading the certificate authorities takes a tenth of a second: only where there is TLS.
        verify = {} if transport else {"verify": self.url.startswith("https:")}
        return {"base_url": self.url, "headers": headers, "timeout": TIMEOUT_S, "transport": transport, **verify}


def request_options(call: Call[Any]) -> dict[str, Any]:
    """Return the arguments of an HTTP client's request."""
    headers = dict(call.headers)
    if call.content is not None:
        headers.setdefault("Content-Type", "application/json")
    return {
        "method": call.method,
        "url": call.path,
        "params": dict(call.query) or None,
        "headers": headers,
        "content": call.content,
    }


def pause_before_again(call: Call[Any], sent: int, outcome: Answer | httpx2.TransportError) -> float | None:
    """Return how long to wait, in s, before a call is sent again that was sent so often; ``None`` for not again."""
    if sent > len(PAUSES_S):
        return None
    pause_s = PAUSES_S[sent - 1]
    if isinstance(outcome, httpx2.TransportError):
        # A connection that was refused has sent nothing.
        return pause_s if call.again and not isinstance(outcome, httpx2.ConnectError) else None
    if outcome.status == REFUSED_FOR_NOW or (outcome.status in BUSY and call.again):
        wanted = outcome.headers.get("retry-after", "")
        wanted_s = float(wanted) if wanted.isascii() and wanted.isdigit() else 0.0
        return max(pause_s, wanted_s) if wanted_s <= LONGEST_RETRY_AFTER_S else None
    return None


def answer_of(response: httpx2.Response) -> Answer:
    """Return an answer that was read to its end; warn of what the server warns of."""
    if warning := response.headers.get(WARNING_HEADER):
        warnings.warn(warning, AtollWarning, stacklevel=4)
    return Answer(response.status_code, response.headers, response.content)


def unreachable(place: Place, error: httpx2.TransportError) -> Unreachable:
    """Say that a server does not answer, and what to do where that is known."""
    reason = str(error) or type(error).__name__
    hint = " (`atoll up` starts one)" if place.url == LOCAL_URL else ""
    return Unreachable(f"{place.url} does not answer: {reason}{hint}")
