"""The credential of a request: a bearer token, or the cookie of a browser that has signed in."""

from urllib.parse import unquote

from chalice.app import Request

COOKIE = "authSessionToken"


def bearer(request: Request) -> str:
    """Return the bearer token of a request, or nothing."""
    scheme, _, token = str(request.headers.get("authorization", "")).partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def api_key_of(request: Request) -> str:
    """Return the API key that a request carries, or nothing; a bearer token goes before a cookie."""
    if token := bearer(request):
        return token
    for part in str(request.headers.get("cookie", "")).split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return unquote(value)
    return ""
