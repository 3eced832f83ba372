"""Requests that a browser signs in by its cookie: only pages of this host may make them.

A cookie goes along with whatever page makes a request. ``SameSite=Strict`` keeps other sites out, and not other ports
or subdomains of this host. What no page can set are ``Sec-Fetch-Site``, which browsers send over HTTPS and to
localhost (W3C, "Fetch Metadata Request Headers"), and ``Origin``, which they send with anything but GET and HEAD
(Fetch, "`Origin` header") and with each socket (RFC 6455, 4.1).
"""

from collections.abc import Mapping
from urllib.parse import urlsplit

from chalicelib.domain.errors import Forbidden

#: Methods that change nothing. Without CORS no other page sees what they return.
_SAFE = ("GET", "HEAD", "OPTIONS")


def check(method: str, headers: Mapping[str, str]) -> None:
    """Raise `Forbidden` for a request with a cookie that a page of another origin makes, or may make.

    Names of headers are in lower case. A client that is no browser sends neither header: it may read, and what changes
    anything needs one.
    """
    check_page(headers)
    if method not in _SAFE and "sec-fetch-site" not in headers and "origin" not in headers:
        raise Forbidden(f"a {method} with the cookie of a sign-in needs the header Origin, or a bearer token instead")


def check_page(headers: Mapping[str, str]) -> None:
    """Raise `Forbidden` for a request that a page of another origin makes, by what the browser says of it."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise Forbidden(f"Sec-Fetch-Site is {site[:100]!r}: only pages of this host sign in, or use a sign-in")
    elif origin is not None and not _is_ours(origin, headers):
        raise Forbidden(f"the Origin is {origin[:100]!r}: only pages of this host sign in, or use a sign-in")


def _is_ours(origin: str, headers: Mapping[str, str]) -> bool:
    """Return whether an origin is where the request was sent, as its client or the proxy in front of us says."""
    try:
        host = urlsplit(origin).netloc.lower()
    except ValueError:
        return False
    # No page can set either of the two, not even with CORS where it is refused.
    return bool(host) and host in (headers.get("host", "").lower(), headers.get("x-forwarded-host", "").lower())
