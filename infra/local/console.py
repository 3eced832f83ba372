"""What a person sees: the banner, and what the agents print, each line with its agent's name in front."""

import re
import zlib

from rich.console import Console
from rich.text import Text

#: Colours that can be read on light and on dark ground.
COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta", "bright_green")

#: Escape sequences and control characters but the tab: an agent's output must not control the terminal.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def agent_line(agent: str, line: str) -> Text:
    """Return a line of an agent's output as it is shown."""
    colour = COLOURS[zlib.crc32(agent.encode()) % len(COLOURS)]
    return Text.assemble((f"{_CONTROL.sub('', agent):>12} │ ", colour), _CONTROL.sub("", line))


def show_agent_line(console: Console, agent: str, line: str) -> None:
    """Print a line of an agent's output."""
    console.print(agent_line(agent, line), soft_wrap=True, highlight=False)


def show_notice(console: Console, line: str, is_fault: bool) -> None:
    """Print what is to be told of the agents in watched folders."""
    text = Text(_CONTROL.sub("", line), style="yellow" if is_fault else "dim")
    console.print(text, soft_wrap=True, highlight=False)
