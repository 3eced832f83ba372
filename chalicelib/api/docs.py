"""The API's own description: the OpenAPI document, and a page that shows it.

The page needs no network: Swagger UI is in Powertools, which every Lambda of Atoll carries anyway.
"""

from pathlib import Path

from chalice.app import Blueprint, Request, Response

from chalicelib.api import console
from chalicelib.api.routing import route
from chalicelib.domain.errors import NotFound

routes = Blueprint(__name__)

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Atoll API</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="api"><p>The document itself is <a href="api_v1.json">api_v1.json</a>.</p></div>
<script src="docs/swagger-ui.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""

_START = """\
SwaggerUIBundle({url: "api_v1.json", dom_id: "#api", deepLinking: true, docExpansion: "list", filter: true});
"""

#: Name to content type and what Swagger UI calls it.
_FILES = {
    "swagger-ui.css": ("text/css", "swagger-ui.min.css"),
    "swagger-ui.js": ("text/javascript", "swagger-ui-bundle.min.js"),
}


@route(routes, "GET", "/api_v1.json", authenticated=False, documented=False)
def get_openapi_document(request: Request) -> Response:
    """Return the OpenAPI document."""
    from chalicelib.api import openapi

    return _file(openapi.text(_prefix(request, "/api_v1.json") or "/"), "application/json", "no-cache")


@route(routes, "GET", "/", authenticated=False, documented=False)
def get_root(request: Request) -> Response:
    """Lead whoever opens the host in a browser to the console, or to the page where that was not built."""
    prefix = _prefix(request, "/")
    return _to(f"{prefix}/ui/console/") if console.is_built() else _to(f"{prefix}/docs")


@route(routes, "GET", "/ui/docs", authenticated=False, documented=False)
def get_coral_docs(request: Request) -> Response:
    """Lead to the page from where Coral Server has its own."""
    return _to(f"{_prefix(request, '/ui/docs')}/docs")


def _to(target: str) -> Response:
    return Response(body="", status_code=302, headers={"Location": target, "Cache-Control": "no-cache"})


def _prefix(request: Request, path: str) -> str:
    """Return what comes before a path where the client asks for it: the stage, but not at a stage's one address."""
    if request.headers.get("x-forwarded-prefix") == "/":  # that address says so (infra/templates/address.yaml)
        return ""
    return str(request.context.get("path", path)).removesuffix(path).rstrip("/")


@route(routes, "GET", "/docs", authenticated=False, documented=False)
def get_docs() -> Response:
    """Return the page that shows the document."""
    page = _file(_PAGE, "text/html", "no-cache")
    page.headers["Content-Security-Policy"] = (
        "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
    )
    return page


@route(routes, "GET", "/docs/{file}", authenticated=False, documented=False)
def get_docs_file(file: str) -> Response:
    """Return a file of that page."""
    if file == "start.js":
        return _file(_START, "text/javascript", "no-cache")
    if file not in _FILES:
        raise NotFound(f"there is no {file[:80]!r} here")
    import aws_lambda_powertools

    content_type, name = _FILES[file]
    path = Path(aws_lambda_powertools.__path__[0], "event_handler", "openapi", "swagger_ui", name)
    return _file(path.read_text(encoding="utf-8"), content_type, "public, max-age=86400")


def _file(content: str, content_type: str, caching: str) -> Response:
    headers: dict[str, str | list[str]] = {"Content-Type": f"{content_type}; charset=utf-8", "Cache-Control": caching}
    return Response(body=content, status_code=200, headers=headers)
