"""A console of somebody else's, from a folder, at the place of Atoll's own: Coral's, for one."""

import mimetypes
from pathlib import Path
from urllib.parse import unquote, urlsplit

from infra.local.api_gateway.answer import Answer

PREFIX = "/ui/console"

#: What is at a path for which there is no file.
NOT_FOUND = "404.html"


class ConsoleFolder:
    """Serves the files of a folder as Coral Server does: the file, else the one with ``.html``, else ``404.html``.

    Raises
    ------
    ValueError
        when the folder has no page.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        if not (self._folder / "index.html").is_file():
            raise ValueError(f"{folder} has no index.html: it is no console that was built")

    def find(self, method: str, target: str) -> Answer | None:
        """Return the answer to a request for the console, ``None`` to one for something else."""
        path = unquote(urlsplit(target).path)
        if method not in ("GET", "HEAD") or (path != PREFIX and not path.startswith(f"{PREFIX}/")):
            return None
        if path == PREFIX:
            return Answer(302, b"", {"Location": f"{PREFIX}/", "Content-Type": "text/plain"})
        name = path.removeprefix(f"{PREFIX}/") or "index.html"
        for candidate in (name, f"{name}.html", NOT_FOUND):
            if (file := self._file(candidate)) is not None:
                kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
                headers = {
                    "Content-Type": f"{kind}; charset=utf-8" if kind.startswith("text/") else kind,
                    "Cache-Control": "no-cache",
                    "Content-Security-Policy": "frame-ancestors 'none'",
                }
                return Answer(200, b"" if method == "HEAD" else file.read_bytes(), headers)
        return Answer.message(404, f"There is nothing at {path}.")

    def _file(self, name: str) -> Path | None:
        """Return a file of the folder by its path in it; nothing for one outside."""
        if "\0" in name:
            return None
        file = (self._folder / name).resolve()
        return file if file.is_relative_to(self._folder) and file.is_file() else None
