"""CORS: which pages of other origins may call the API (`Settings.cors_origins`)."""

from collections.abc import Callable, Mapping
from typing import Any

from chalice.app import Chalice, Response

from chalicelib.api.errors import LIMIT_HEADER, WARNING_HEADER
from chalicelib.api.paging import CURSOR_HEADER
from chalicelib.stores import current

Handler = Callable[..., Any]


def add_cors(app: Chalice) -> None:
    """Let the pages of configured origins call the API (`Settings.cors_origins`); call it when all routes are there.

    API Gateway's own answers to preflights know one origin only, so the app answers them.
    """

    @app.middleware("http")
    def _allow(event: Any, get_response: Callable[[Any], Response]) -> Response:
        response = get_response(event)
        if allowed := allowed_origin(event.headers):
            response.headers |= {
                "Access-Control-Allow-Origin": allowed,
                "Access-Control-Expose-Headers": f"{CURSOR_HEADER}, {LIMIT_HEADER}, {WARNING_HEADER}, Retry-After",
                "Vary": "Origin",
            }
        return response

    for path, methods in list(app.routes.items()):
        app.route(path, methods=["OPTIONS"], name="preflight", content_types=[])(_preflight(app, list(methods)))


def _preflight(app: Chalice, methods: list[str]) -> Handler:
    def preflight(**_: str) -> Response:
        headers: dict[str, str | list[str]] = {"Allow": ", ".join([*methods, "OPTIONS"])}
        if app.current_request and allowed_origin(app.current_request.headers):
            headers |= {
                "Access-Control-Allow-Methods": ", ".join(methods),
                "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key",
                "Access-Control-Max-Age": "86400",
            }
        return Response(body="", status_code=204, headers=headers)

    return preflight


def allowed_origin(headers: Mapping[str, str]) -> str | None:
    """Return the origin of the page that makes a request, or ``*``, where the deployment lets it call the API."""
    origins, origin = current().settings.cors_origin_list, str(headers.get("origin", ""))
    return "*" if "*" in origins else origin if origin in origins else None
