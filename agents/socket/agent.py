"""socket: a place in a session for a process that is started elsewhere, from an IDE, say.

It connects to nothing and imports nothing of what is beside it: it prints the environment that the process needs, and
stays until it is ended. It is started by itself, without run.py: `socket` is a module of Python's own, so a folder of
this name cannot be imported from.
"""

import contextlib
import os
import re
import signal
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

FORMAT = "ENVIRONMENT_FORMAT"


def main() -> None:
    """Print the environment, then do nothing for ever; SIGTERM ends the process at once."""
    # As process 1 of a container this would else ignore SIGTERM.
    signal.signal(signal.SIGTERM, end)
    variables = {name: os.environ[name] for name in names() if name in os.environ}
    several_lines = {name for name, value in variables.items() if re.search("[\r\n]", value)}
    line = jetbrains({name: value for name, value in variables.items() if name not in several_lines})
    print(line, flush=True)
    if several_lines:
        print(f"left out, having several lines: {', '.join(sorted(several_lines))}", flush=True)
    with own_file(line) if os.environ.get("CORAL_RUNTIME_ID") == "executable" else contextlib.nullcontext():
        while True:
            signal.pause()


def end(_signal: int, _frame: FrameType | None) -> None:
    """Leave, and take the file along."""
    sys.exit(0)


@contextlib.contextmanager
def own_file(line: str) -> Iterator[None]:
    """Keep the line in a file that only this user can read: where it is printed, the agent's secret is hidden."""
    with tempfile.NamedTemporaryFile("w", prefix="coral-socket-", suffix=".env") as file:
        file.write(f"{line}\n")
        file.flush()
        print(f"as it is, with the secret: {file.name}", flush=True)
        yield


def names() -> list[str]:
    """The names of this agent's options, as its coral-agent.toml has them, and of the variables that are Coral's."""
    options = tomllib.loads(Path(__file__).with_name("coral-agent.toml").read_text("utf-8")).get("options", {})
    corals = [name for name in os.environ if name.startswith("CORAL_")]
    return [*(name for name in options if name not in (FORMAT, *corals)), *corals]


def jetbrains(variables: dict[str, str]) -> str:
    """`K=V;K=V`, as the field "Environment variables" of a run configuration takes it."""
    return ";".join(f"{name}={_quoted(value)}" for name, value in variables.items())


def _quoted(value: str) -> str:
    if ";" not in value and not value.startswith('"'):
        return value
    return '"' + re.sub(r'([\\";])', r"\\\1", value) + '"'


if __name__ == "__main__":
    main()
