"""``make run``: serves Atoll on this machine until it is stopped."""

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.logging import RichHandler
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent.parent

#: Coral's port.
PORT = 5555
MAX_PORT = 65_535


def main() -> int:
    """Serve until Ctrl-C or SIGTERM; return the exit code."""
    console = Console()
    # At the handler: what is logged of sessions for their logs is not for the terminal.
    logging.basicConfig(format="%(message)s", handlers=[RichHandler(console=console, level=logging.WARNING)])
    stop = threading.Event()

    def on_signal(_: int, __: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)
    # The banner can wait for what takes longest to import, but a signal cannot.
    from chalicelib.api.console import is_built
    from infra.local.agent_patterns import HOME_PATTERNS, fault_of, patterns_of
    from infra.local.api_gateway.console_folder import ConsoleFolder
    from infra.local.console import show_agent_line, show_notice
    from infra.local.stack import LocalStack

    given_port = os.environ.get("PORT") or str(PORT)
    if not given_port.isdecimal() or int(given_port) > MAX_PORT:
        console.print(Text(f"PORT is {given_port!r}: a port is a number from 0 to {MAX_PORT}.", style="bold red"))
        return 1
    port = int(given_port)
    try:
        given_patterns = patterns_of(os.environ.get("AGENTS", ""))
    except ValueError as error:
        console.print(Text(f"AGENTS: {error}.", style="bold red"))
        return 1
    try:
        folder = os.environ.get("CONSOLE")
        web_console = ConsoleFolder(Path(folder).expanduser()) if folder else None
    except ValueError as error:
        console.print(Text(f"CONSOLE: {error}.", style="bold red"))
        return 1
    given_secret = os.environ.get("ATOLL_WEBHOOK_SECRET") or None
    stack = LocalStack(
        port=port,
        api_key=os.environ.get("ATOLL_API_KEY") or "dev",
        webhook_secret=given_secret,
        custom_tool_secret=os.environ.get("ATOLL_CUSTOM_TOOL_SECRET") or None,
        agent_patterns=[*given_patterns, f"{ROOT}/agents/*", *patterns_of(":".join(HOME_PATTERNS))],
        on_notice=lambda line, is_fault: show_notice(console, line, is_fault),
        on_output=lambda agent, line: show_agent_line(console, agent, line),
        console=web_console,
    )
    try:
        stack.start()
    except OSError as error:
        console.print(
            Text(f"Atoll cannot serve on port {port}: {error.strerror}. PORT names another.", style="bold red")
        )
        return 1
    try:
        for fault in filter(None, map(fault_of, given_patterns)):
            console.print(Text(f"AGENTS: {fault}. It is registered once it is there.", style="bold red"))
        made_secret = None if given_secret else stack.webhook_secret
        console_url = f"{stack.url}/ui/console/" if web_console or is_built() else None
        console.print(_banner(stack.url, console_url, stack.key, made_secret, stack.agents))
        stop.wait()
        console.print(Text("Stopping; agents end first.", style="dim"))
    finally:
        stack.stop()
    return 0


def _banner(
    url: str, console_url: str | None, key: str, made_secret: str | None, agents: list[tuple[str, str]]
) -> Panel:
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    rows.add_row(
        "console", Text(console_url or "not built: `make console` says why", style="bold" if console_url else "dim")
    )
    rows.add_row("API", Text(url))
    rows.add_row("API key", Text(key))
    if made_secret is not None:
        rows.add_row("webhook key", Text(made_secret))
        rows.add_row("", Text("made for this run; ATOLL_WEBHOOK_SECRET sets it", style="dim"))
        rows.add_row("", Text("signs calls of custom tools too; ATOLL_CUSTOM_TOOL_SECRET sets another", style="dim"))
    names = ", ".join(f"{name} {version}" for name, version in agents)
    rows.add_row("agents", Text(names or "none: AGENTS lists folders of agents"))
    rows.add_row("to stop", Text("Ctrl-C"))
    return Panel(rows, title="[bold]Atoll[/] runs on this machine", title_align="left", expand=False)


if __name__ == "__main__":
    sys.exit(main())
