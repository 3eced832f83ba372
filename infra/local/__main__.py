"""``make run``: serves Atoll on this machine until it is stopped."""

import logging
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from infra.local.console import SessionHandler, Terminal, TerminalHandler, label_of
from infra.local.signals import StopSignals

if TYPE_CHECKING:
    from chalicelib.wire.llm_proxy import LlmProxyConfig
    from infra.local.stack import LocalStack

ROOT = Path(__file__).resolve().parent.parent.parent

#: Coral's port.
PORT = 5555
MAX_PORT = 65_535

#: The key of the first user, unless ATOLL_API_KEY is another.
KEY = "dev"

#: Where the data is kept, unless DATA names another folder; an empty DATA keeps nothing.
DATA = ".atoll"

#: How long everything may take to end, in s, and how much of that the sessions have for their reports.
STOP_S = 10.0
REPORTS_S = 4.0

#: How long what is printed may take to be seen, in s.
FLUSH_S = 0.5


def main() -> int:
    """Serve until Ctrl-C or SIGTERM; return the exit code."""
    signals = StopSignals(within_s=STOP_S)
    terminal = Terminal()
    # At the handler: what is logged of sessions for their logs is not for the terminal.
    logging.basicConfig(format="%(message)s", handlers=[TerminalHandler(terminal, logging.WARNING)])
    # Before the root's: what this shows, that leaves out.
    logging.getLogger("chalicelib").addHandler(SessionHandler(terminal))
    try:
        return _serve(signals, terminal)
    except _CannotServe as refusal:
        terminal.show(Text(str(refusal), style="bold red"))
        return 1
    finally:
        terminal.flush(FLUSH_S)


class _CannotServe(Exception):
    """What is asked for cannot be done; the message is for a person."""


def _serve(signals: StopSignals, terminal: Terminal) -> int:
    # The banner can wait for what takes longest to import, but a signal cannot.
    from chalicelib.api.console import is_built
    from infra.local.agent_patterns import HOME_PATTERNS, fault_of, patterns_of
    from infra.local.api_gateway.connection import allow_files
    from infra.local.api_gateway.console_folder import ConsoleFolder
    from infra.local.data import DataUnusable
    from infra.local.stack import LocalStack

    allow_files()
    port = _port()
    try:
        given_patterns = patterns_of(os.environ.get("AGENTS", ""))
    except ValueError as error:
        raise _CannotServe(f"AGENTS: {error}.") from error
    try:
        folder = os.environ.get("CONSOLE")
        web_console = ConsoleFolder(Path(folder).expanduser()) if folder else None
    except ValueError as error:
        raise _CannotServe(f"CONSOLE: {error}.") from error
    llm_proxy = _llm_proxy(os.environ.get("LLM_PROXY", ""))
    given_secret = os.environ.get("ATOLL_WEBHOOK_SECRET") or None
    given_tool_secret = os.environ.get("ATOLL_CUSTOM_TOOL_SECRET") or None
    data = os.environ.get("DATA", DATA)
    stack = LocalStack(
        port=port,
        api_key=os.environ.get("ATOLL_API_KEY") or KEY,
        webhook_secret=given_secret,
        custom_tool_secret=given_tool_secret,
        agent_patterns=[*given_patterns, f"{ROOT}/agents/*", *patterns_of(":".join(HOME_PATTERNS))],
        on_notice=terminal.show_notice,
        on_output=terminal.show_agent_line,
        labelled=label_of,
        data=Path(data).expanduser() if data else None,
        console=web_console,
        llm_proxy=llm_proxy,
    )
    try:
        stack.start()
    except DataUnusable as error:
        raise _CannotServe(f"Atoll cannot keep its data in {error}. DATA names another folder.") from error
    except OSError as error:
        raise _CannotServe(f"Atoll cannot serve on port {port}: {error.strerror}. PORT names another.") from error
    try:
        for fault in filter(None, map(fault_of, given_patterns)):
            terminal.show(Text(f"AGENTS: {fault}. It is registered once it is there.", style="bold red"))
        made = {
            "webhook key": (None if given_secret else stack.webhook_secret, "ATOLL_WEBHOOK_SECRET"),
            "tools key": (None if given_tool_secret else stack.custom_tool_secret, "ATOLL_CUSTOM_TOOL_SECRET"),
        }
        console_url = f"{stack.url}/ui/console/" if web_console or is_built() else None
        terminal.show(_banner(stack, console_url, made, data, llm_proxy))
        signals.wait()
        terminal.show(Text("Stopping: sessions are closed and report first. Ctrl-C again ends at once.", style="dim"))
        stack.close_sessions(REPORTS_S)
    finally:
        stack.stop()
    return 0


def _llm_proxy(file: str) -> "LlmProxyConfig | None":
    if not file:
        return None
    from chalicelib.wire.llm_proxy import ConfigFault
    from infra.llm_proxy import read

    try:
        return read(Path(file).expanduser())
    except OSError as error:
        raise _CannotServe(f"LLM_PROXY: {file}: {error.strerror}.") from error
    except ConfigFault as error:
        raise _CannotServe(f"LLM_PROXY: {file}: {error}") from error


def _port() -> int:
    given = os.environ.get("PORT") or str(PORT)
    if not given.isdecimal() or int(given) > MAX_PORT:
        raise _CannotServe(f"PORT is {given!r}: a port is a number from 0 to {MAX_PORT}.")
    return int(given)


def _banner(
    stack: "LocalStack",
    console_url: str | None,
    made: dict[str, tuple[str | None, str]],
    data: str,
    llm_proxy: "LlmProxyConfig | None",
) -> Panel:
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row(
        "console", Text(console_url or "not built: `make console` says why", style="bold" if console_url else "dim")
    )
    rows.add_row("", Text(f'sign in with the key "{stack.key}"'))
    rows.add_row("API", Text(f"{stack.url}, described at {stack.url}/docs"))
    run = f"{_command()} run {_shortest(ROOT / 'examples/first.yaml')} --follow"
    for number, line in enumerate([*_exports(stack), run]):
        rows.add_row("" if number else "first", Text(line, style="bold"))
    names = ", ".join(f"{name}@{version}" for name, version in stack.agents)
    rows.add_row("agents", Text(names or "none: AGENTS lists folders of agents"))
    providers = ", ".join(provider.name for provider in llm_proxy.providers) if llm_proxy else ""
    rows.add_row("models", Text(providers or "none: LLM_PROXY names a file with providers"))
    kept = (
        f"sessions, history, registry and keys are kept in {data}" if data else "nothing is kept; DATA names a folder"
    )
    rows.add_row("data", Text(kept))
    for name, (secret, variable) in made.items():
        if secret is not None:
            rows.add_row(name, Text.assemble(secret, (f"  ({variable} sets it)", "dim")))
    rows.add_row("to stop", Text("Ctrl-C"))
    return Panel(rows, title="[bold]Atoll[/] runs on this machine", title_align="left", expand=False)


def _exports(stack: "LocalStack") -> list[str]:
    """Return what a shell has to know for a command to find this stack, where it does not by itself."""
    needed = [] if stack.url.endswith(f":{PORT}") else [f"ATOLL_URL={stack.url}"]
    needed += [] if stack.key == KEY else [f"ATOLL_API_KEY={shlex.quote(stack.key)}"]
    return [" ".join(["export", *needed])] if needed else []


def _command() -> str:
    """Return how the command is called here."""
    beside = Path(sys.executable).with_name("atoll")
    return "atoll" if shutil.which("atoll") or not beside.exists() else str(_shortest(beside))


def _shortest(path: Path) -> Path:
    """Return a path as it is written from here, where that is within this folder."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


if __name__ == "__main__":
    code = main()
    # No thread is waited for any more: the interpreter would wait for those of requests, however long they take.
    os._exit(code)
