"""The web console: one page and its files, as `make console` has built them into the package."""

import functools
import re
from pathlib import Path

from chalice.app import Blueprint, Request, Response

from chalicelib.api.routing import route
from chalicelib.domain.errors import NotFound

routes = Blueprint(__name__)

#: Where `make console` puts what it builds. In a fresh checkout there is nothing.
FOLDER = Path(__file__).resolve().parent.parent / "ui"

PAGE = "index.html"

_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}

_NAME = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.(js|css|svg)")

#: Nothing is loaded from elsewhere, no script or style stands in the page, and nobody frames it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)

#: The name of a file changes with its content; that of the page does not.
_FOREVER, _ASK = "public, max-age=31536000, immutable", "no-cache"


@route(routes, "GET", "/ui/console", authenticated=False, documented=False)
def get_console(request: Request) -> Response:
    """Return the page. Its links are relative to where it is, with the stage in the path or without."""
    page = _text(PAGE).replace("<head>", f'<head>\n    <base href="{_base(request)}/ui/console/" />', 1)
    return _answer(page, "text/html", _ASK)


@route(routes, "GET", "/ui/console/{file}", authenticated=False, documented=False)
def get_console_file(file: str) -> Response:
    """Return a file of the page."""
    if not _NAME.fullmatch(file):
        raise NotFound(f"there is no {file[:80]!r} here")
    return _answer(_text(file), _TYPES[Path(file).suffix], _FOREVER)


def is_built() -> bool:
    """Return whether there is a console to serve."""
    return (FOLDER / PAGE).is_file()


@functools.lru_cache(maxsize=64)
def _read(path: Path, _modified_ns: int) -> str:
    return path.read_text(encoding="utf-8")


def _text(file: str) -> str:
    path = FOLDER / file
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError:
        why = "there is no such file" if is_built() else "the console was not built: `make console` does"
        raise NotFound(f"{file[:80]!r}: {why}") from None


def _base(request: Request) -> str:
    """Return what comes before the paths of the API where the client asks: the stage, or nothing."""
    if request.headers.get("x-forwarded-prefix") == "/":
        return ""
    path = str(request.context.get("path", "")).rstrip("/")
    found = re.fullmatch(r"((?:/[A-Za-z0-9_-]+)?)/ui/console", path)
    return found[1] if found else ""


def _answer(text: str, content_type: str, caching: str) -> Response:
    headers: dict[str, str | list[str]] = {
        "Content-Type": f"{content_type}; charset=utf-8",
        "Cache-Control": caching,
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
    return Response(body=text, status_code=200, headers=headers)
