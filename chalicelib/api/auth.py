"""Signing in with a browser: the API key becomes a cookie (the Coral contract, "Authentication")."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, quote

from chalice.app import Blueprint, Request, Response

from chalicelib.api.credentials import COOKIE
from chalicelib.api.routing import Extras, route
from chalicelib.domain import api_keys
from chalicelib.domain.errors import BadRequest, Unauthorized
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
        "Set-Cookie": {"description": f"`{COOKIE}`, the API key.", "schema": {"type": "string"}},
    },
)


@route(
    routes,
    "POST",
    "/api/v1/auth/token",
    authenticated=False,
    content_types=("application/x-www-form-urlencoded",),
    raises=(Unauthorized,),
    status=302,
    extras=_SIGN_IN,
)
def authenticate_token(body: bytes, request: Request) -> Response:
    """Set the cookie that authenticates as the API key in the form field ``token``, and go to ``to``."""
    try:
        fields = parse_qs(body.decode(), max_num_fields=20)
    except ValueError as error:
        raise BadRequest("the body is not a form") from error
    key = fields.get("token", [""])[-1]
    api_keys.authenticate(current(), key)
    query: Mapping[str, str] = request.query_params or {}
    target = local_target(query.get("to") or DEFAULT_TARGET)
    # No script reads it, and no other site's form or script sends it.
    cookie = f"{COOKIE}={quote(key, safe='')}; Path=/; HttpOnly; SameSite=Strict"
    if request.headers.get("x-forwarded-proto") == "https":
        cookie += "; Secure"
    return Response(
        body="", status_code=302, headers={"Location": target, "Set-Cookie": cookie, "Cache-Control": "no-store"}
    )


def local_target(target: str) -> str:
    r"""Return a path of this host, encoded for a header; raise `BadRequest` for a target on another host.

    A browser takes ``\`` for ``/``, and leaves tabs and line breaks out: ``/\evil``, ``/<tab>/evil`` and ``//evil``
    are all another host (WHATWG URL, "URL parsing").
    """
    if len(target) > MAX_TARGET_LENGTH or not re.fullmatch(_TARGET, target):
        raise BadRequest(f"to: {target[:80]!r} is not a path of this host")
    return quote(target, safe="/?#[]@!$&'()*+,;=:~%")
