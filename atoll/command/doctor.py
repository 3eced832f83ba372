"""`atoll doctor`: looks for what commonly is not right, and says what to do."""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import typer

from atoll.command.project import MARK, ROOT
from atoll.command.servers import ServerName, connect, file
from atoll.command.terminal import AsJson, show_json, show_rows
from atoll.errors import AtollError, Refused
from atoll.version import VERSION

#: How far the clock here may be from the server's, in s: webhooks older than 5 minutes are refused.
CLOCK_S = 60

#: What other users may not read.
OTHERS = 0o077


class Finding(NamedTuple):
    """What was looked at, whether it is right (``None`` where it need not be there), and what was seen."""

    what: str
    right: bool | None
    seen: str


def doctor(*, server: ServerName = None, as_json: AsJson = False) -> None:
    """Look at this machine and at the server; exit with 1 when something is not right."""
    found = [*_here(), *_there(server)]
    if as_json:
        show_json([{"what": each.what, "ok": each.right, "seen": each.seen} for each in found])
    else:
        marks = {True: "✓", False: "✗", None: "·"}
        show_rows(("", "", ""), ((marks[each.right], each.what, each.seen) for each in found))
    if any(each.right is False for each in found):
        raise typer.Exit(1)


def _here() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding("Python", sys.version_info >= (3, 11), version)
    kept = file()
    if kept.exists():
        private = not kept.stat().st_mode & OTHERS
        yield Finding("kept keys", private, f"{kept}{'' if private else ': others can read it, chmod 600'}")
    whole = (ROOT / MARK).is_dir()
    yield Finding("project", True if whole else None, str(ROOT) if whole else "the client alone: no `up`, no `deploy`")
    for program, use in (("docker", "agents in containers, on this machine"), ("node", "building the console")):
        path = shutil.which(program)
        yield Finding(program, True if path else None, path or f"not there; it is for {use}")


def _there(server: str | None) -> Iterator[Finding]:
    try:
        client = connect(server)
    except AtollError as error:
        yield Finding("server", False, str(error))
        return
    with client:
        checks: dict[str, Callable[[], tuple[bool | None, str]]] = {
            "server": lambda: _server(client),
            "API key": lambda: _key(client),
            "agents": lambda: _agents(client),
            "console": lambda: _console(client),
        }
        for what, check in checks.items():
            try:
                yield Finding(what, *check())
            except AtollError as error:
                yield Finding(what, False, str(error))
                if not isinstance(error, Refused):  # nothing answers: the rest would say the same
                    return


def _server(client: Any) -> tuple[bool | None, str]:
    answer = client.fetch("/api_v1.json")
    version = str(json.loads(answer.content)["info"]["version"])
    seen = f"{client.place.url}, version {version}"
    if version != VERSION:
        return None, f"{seen}; this command is {VERSION}"
    if date := answer.headers.get("date"):
        off_s = time.time() - parsedate_to_datetime(date).timestamp()
        if abs(off_s) > CLOCK_S:
            return False, f"{seen}; the clock here is {abs(off_s):.0f} s {'ahead' if off_s > 0 else 'behind'}"
    return True, seen


def _key(client: Any) -> tuple[bool | None, str]:
    count = sum(1 for _, _ in zip(client.namespaces(), range(1_000), strict=False))
    return True, f"valid; {count} namespaces"


def _agents(client: Any) -> tuple[bool | None, str]:
    count = sum(1 for _ in client.registry())
    return (True, f"{count} registered") if count else (None, "none is registered: `atoll agents put`")


def _console(client: Any) -> tuple[bool | None, str]:
    try:
        client.fetch("/ui/console/")
    except Refused:
        return None, "not built: `make console` says why"
    return True, f"{client.place.url}/ui/console/"


def register(app: typer.Typer) -> None:
    """Put this command into a program."""
    app.command("doctor")(doctor)
