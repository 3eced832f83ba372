"""Signing in and out with a browser: the API key becomes a cookie (the Coral contract, "Authentication")."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, quote

from chalice.app import Blueprint, Request, Response

from chalicelib.api import same_origin
from chalicelib.api.credentials import COOKIE, sign_in_of
from chalicelib.api.routing import Extras, route
from chalicelib.domain import sign_ins
from chalicelib.domain.errors import BadRequest, Forbidden, TooManyRequests, Unauthorized
from chalicelib.stores import current

routes = Blueprint(__name__)

#: Where Coral's console is.
DEFAULT_TARGET = "/ui/console/"

MAX_TARGET_LENGTH = 2_048

_TARGET = r"/(?!/)[^\\\x00-\x1f\x7f]*"

_SIGN_IN = Extras(
    parameters=[
        {
            "name": "to",
            "in": "query",
            "description": f"Path of this host to go to; `{DEFAULT_TARGET}` by default.",
            "schema": {"type": "string", "maxLength": MAX_TARGET_LENGTH, "pattern": f"^{_TARGET}$"},
        }
    ],
    body_schema={"type": "object", "properties": {"token": {"type": "string"}}, "required": ["token"]},
    headers={
        "Location": {"description": "The path of `to`.", "schema": {"type": "string"}},
        "Set-Cookie": {"description": f"`{COOKIE}`, the sign-in.", "schema": {"type": "string"}},
    },
)

_SIGN_OUT = Extras(headers={"Set-Cookie": {"description": f"`{COOKIE}`, emptied.", "schema": {"type": "string"}}})


@route(
    routes,
    "POST",
    "/api/v1/auth/token",
    authenticated=False,
    content_types=("application/x-www-form-urlencoded",),
    raises=(Unauthorized, Forbidden, TooManyRequests),
    status=302,
    extras=_SIGN_IN,
)
def authenticate_token(body: bytes, request: Request) -> Response:
    """Set the cookie that authenticates as the API key in the form field ``token``, and go to ``to``.

    The cookie is a random id, valid for 12 hours and as long as the key is.
    """
    # Another page's form would sign the browser in with another's key, and what is then done there would be theirs.
    same_origin.check_page(request.headers)
    try:
        fields = parse_qs(body.decode(), max_num_fields=20)
    except ValueError as error:
        raise BadRequest("the body is not a form") from error
    query: Mapping[str, str] = request.query_params or {}
    target = local_target(query.get("to") or DEFAULT_TARGET)
    sign_in = sign_ins.begin(current(), fields.get("token", [""])[-1])
    return Response(
        body="", status_code=302, headers={"Location": target, "Cache-Control": "no-store", **_set(request, sign_in)}
    )


@route(routes, "DELETE", "/api/v1/auth/token", authenticated=False, raises=(Forbidden,), extras=_SIGN_OUT)
def end_token(request: Request) -> Response:
    """End the sign-in of the cookie, and clear the cookie; without one nothing happens."""
    if sign_in := sign_in_of(request):
        same_origin.check(request.method, request.headers)
        sign_ins.end(current(), sign_in)
    return Response(body="", status_code=200, headers={"Cache-Control": "no-store", **_set(request, "", "; Max-Age=0")})


def _set(request: Request, sign_in: str, lifetime: str = "") -> dict[str, str | list[str]]:
    # No script reads it, and no other site's form or script sends it.
    secure = "; Secure" if request.headers.get("x-forwarded-proto") == "https" else ""
    return {"Set-Cookie": f"{COOKIE}={sign_in}; Path=/; HttpOnly; SameSite=Strict{lifetime}{secure}"}


def local_target(target: str) -> str:
    r"""Return a path of this host, encoded for a header; raise `BadRequest` for a target on another host.

    A browser takes ``\`` for ``/``, and leaves tabs and line breaks out: ``/\evil``, ``/<tab>/evil`` and ``//evil``
    are all another host (WHATWG URL, "URL parsing").
    """
    if len(target) > MAX_TARGET_LENGTH or not re.fullmatch(_TARGET, target):
        raise BadRequest(f"to: {target[:80]!r} is not a path of this host")
    return quote(target, safe="/?#[]@!$&'()*+,;=:~%")
