"""Lines of what agents print and do, as they are shown in a terminal: by the command, and by the local stack."""

import re
import zlib

from rich.text import Text

#: Colours that can be read on light and on dark ground.
COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "bright_red", "bright_cyan", "bright_magenta", "bright_green")

#: Escape sequences and control characters but the tab: what others wrote must not control the terminal.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|[\x00-\x08\x0a-\x1f\x7f-\x9f]")


def plain(text: str) -> str:
    """Return a text without what would control the terminal."""
    return _CONTROL.sub("", text)


def colour_of(name: str) -> str:
    """Return the colour of an agent, the same everywhere."""
    return COLOURS[zlib.crc32(name.encode()) % len(COLOURS)]


def agent_line(agent: str, line: str, *, width: int = 12) -> Text:
    """Return a line of an agent's output as it is shown, with the agent's name in so many columns."""
    return Text.assemble((f"{plain(agent):>{width}} │ ", colour_of(agent)), plain(line))
