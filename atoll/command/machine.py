"""Atoll on this machine: `atoll up` and `atoll demo`, from a checkout of the project."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from atoll.command.project import checkout, needs_project

#: Largest number of a port.
MAX_PORT = 65_535


def up(
    agents: Annotated[
        list[str] | None, typer.Argument(help="Folders of your agents, also as patterns with *; AGENTS has more.")
    ] = None,
    *,
    port: Annotated[int | None, typer.Option(min=0, max=MAX_PORT, help="Where to serve; 5555 by default.")] = None,
    data: Annotated[str | None, typer.Option(help="The folder that keeps everything; '' keeps nothing.")] = None,
    llm_proxy: Annotated[Path | None, typer.Option(help="A file with the models that agents may use.")] = None,
) -> None:
    """Serve Atoll on this machine until Ctrl-C: API, agents' endpoint, console, and AWS embedded in the process.

    It says where the console is. It is what `make run` does.
    """
    folders = [os.path.abspath(os.path.expanduser(each)) for each in agents or ()]
    listed = [*folders, *filter(None, [os.environ.get("AGENTS")])]
    given = {
        "AGENTS": ":".join(listed),
        "PORT": None if port is None else str(port),
        "DATA": data,
        "LLM_PROXY": None if llm_proxy is None else os.path.abspath(llm_proxy),
    }
    os.environ.update({name: value for name, value in given.items() if value is not None})
    root = checkout("up")
    with needs_project("up"):
        import moto  # noqa: F401, all of the local stack is there when this is

        from infra import web_console

        web_console.main()
    _become("infra.local", root)


def demo() -> None:
    """Watch one session from its POST to its signed end report, in a quarter of a minute."""
    root = checkout("demo")
    with needs_project("demo"):
        import moto  # noqa: F401
    _become("infra.local.demo", root)


def _become(module: str, root: Path) -> None:
    """Run a module of the project in the place of this process: signals and the terminal are its own."""
    sys.stdout.flush()
    path = os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")]))
    arguments = [sys.executable, "-m", module]
    os.execve(sys.executable, arguments, {**os.environ, "PYTHONPATH": path})  # noqa: S606, no shell is meant


def register(app: typer.Typer) -> None:
    """Put these commands into a program."""
    app.command("up")(up)
    app.command("demo")(demo)
