"""The credential of a request: a bearer token, or the cookie of a browser that has signed in."""

from chalice.app import Request

from chalicelib.api import same_origin
from chalicelib.api.body import bytes_of
from chalicelib.api.errors import WrongContentType
from chalicelib.domain import api_keys, sign_ins
from chalicelib.store.api_keys import ApiKeyRecord
from chalicelib.stores import Stores

COOKIE = "authSessionToken"


def bearer(request: Request) -> str:
    """Return the bearer token of a request, or nothing."""
    return bearer_in(str(request.headers.get("authorization", "")))


def bearer_in(header: str) -> str:
    """Return the bearer token in the text of an ``Authorization`` header, or nothing."""
    scheme, _, token = header.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def caller_of(stores: Stores, request: Request, *, for_change: bool) -> ApiKeyRecord:
    """Return the API key that makes a request, to change something or not; a bearer token goes before a cookie.

    Raises `Unauthorized` when neither is there, or the one that counts is not valid; `Forbidden` for a cookie that a
    page of another origin sends, and `WrongContentType` for one with a body that does not say what it is, as a page
    can send it anywhere.
    """
    token = bearer(request)
    if not token and (sign_in := sign_in_of(request)):
        same_origin.check(request.method, request.headers)
        if bytes_of(request) and "content-type" not in request.headers:
            raise WrongContentType("a body that comes with the cookie of a sign-in needs a Content-Type")
        return sign_ins.authenticate(stores, sign_in)
    return api_keys.authenticate(stores, token, for_change=for_change)


def sign_in_of(request: Request) -> str:
    """Return the sign-in in a request's cookie, or nothing."""
    return in_cookie(str(request.headers.get("cookie", "")))


def in_cookie(header: str) -> str:
    """Return the sign-in in the text of a ``Cookie`` header, or nothing."""
    for part in header.split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value
    return ""
