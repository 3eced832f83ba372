"""Which server is meant: an option, the environment, or a profile in the platform's configuration folder."""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atoll.command import completion
from atoll.command.terminal import AsJson, show, show_json, show_rows, tell
from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.client import Client

app = typer.Typer(no_args_is_help=True, help="The servers that are known here, each with its API key.")

ServerName = Annotated[
    str | None,
    typer.Option(
        "--server",
        "-s",
        envvar="ATOLL_SERVER",
        help="A server of `atoll servers ls`.",
        autocompletion=completion.servers,
    ),
]

#: How many bytes of the file are read.
MOST_BYTES = 1_000_000


def file() -> Path:
    """Return where the servers are kept; ``ATOLL_CONFIG`` names another folder."""
    return Path(os.environ.get("ATOLL_CONFIG") or typer.get_app_dir("atoll")) / "servers.json"


class Servers:
    """The servers that are kept: their addresses and keys, and which is used when none is named."""

    def __init__(self, servers: dict[str, dict[str, str]], used: str | None) -> None:
        self.servers = servers
        self.used = used

    @classmethod
    def read(cls) -> "Servers":
        """Read the file; raises `AtollError` when it cannot be."""
        try:
            with file().open("rb") as opened:
                kept = json.loads(opened.read(MOST_BYTES))
            servers = {
                str(name): {"url": str(each["url"]), "key": str(each["key"])} for name, each in kept["servers"].items()
            }
            return cls(servers, kept.get("used"))
        except FileNotFoundError:
            return cls({}, None)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise AtollError(f"{file()} cannot be read: {error!r}") from error

    def write(self) -> None:
        """Replace the file at once, so that no other user can read it at any time."""
        path = file()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        content: dict[str, Any] = {"servers": self.servers, "used": self.used}
        try:
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as opened:
                json.dump(content, opened, indent=1)
            draft.replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                draft.unlink()

    def get(self, name: str) -> dict[str, str]:
        """Return a server; raises `AtollError` for one that is not known."""
        if name not in self.servers:
            known = ", ".join(sorted(self.servers)) or "there are none"
            raise AtollError(f"there is no server {name!r}: {known} (`atoll servers add`)")
        return self.servers[name]


def connect(server: str | None) -> "Client":
    """Return a client of the server that is meant.

    That is the one that is named, or that of ``ATOLL_URL``, or the one in use, or the stack of this machine.
    """
    from atoll.client import Client

    if server is None and os.environ.get("ATOLL_URL"):
        return Client()
    known = Servers.read()
    name = server or known.used
    if name is None:
        return Client()
    place = known.get(name)
    return Client(place["url"], place["key"])


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="A name for it.")],
    url: Annotated[str, typer.Argument(help="Its address, with the stage in the path where it has one.")],
) -> None:
    """Keep a server and use it; its key is asked for, or read from standard input."""
    from atoll.client import Client

    key = typer.prompt("API key", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline(4_096)
    key = str(key).strip()
    if not key:
        raise AtollError("no API key was given: type it, or give it on standard input")
    with Client(url, key) as client:
        next(iter(client.namespaces()), None)  # raises when the server or the key is not right
    known = Servers.read()
    known.servers[name] = {"url": client.place.url, "key": key}
    known.used = name
    known.write()
    tell(f"{name} is in use. It is kept in {file()}, which only you can read.")


@app.command("ls")
def list_servers(as_json: AsJson = False) -> None:
    """List the servers, without their keys."""
    known = Servers.read()
    rows = [(name, place["url"], name == known.used) for name, place in sorted(known.servers.items())]
    if as_json:
        show_json([{"name": name, "url": url, "used": used} for name, url, used in rows])
        return
    show_rows(("name", "address", ""), [(name, url, "in use" if used else "") for name, url, used in rows])


@app.command()
def use(
    name: Annotated[
        str,
        typer.Argument(help="A name of the list; `local` is this machine's stack.", autocompletion=completion.servers),
    ],
) -> None:
    """Use a server where none is named."""
    known = Servers.read()
    if name == "local" and name not in known.servers:
        known.used = None
    else:
        known.get(name)
        known.used = name
    known.write()


@app.command()
def rm(
    name: Annotated[str, typer.Argument(help="A name of the list.", autocompletion=completion.servers)],
) -> None:
    """Forget a server and its key."""
    known = Servers.read()
    known.get(name)
    del known.servers[name]
    known.used = None if known.used == name else known.used
    known.write()
    show(f"{name} is forgotten here; its key is still valid: `atoll keys revoke`.")
