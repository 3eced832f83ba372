"""The program as its users run it: through a terminal, and without one, against one local stack."""

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest

from atoll.command import main
from chalicelib.wire.llm_proxy import parse
from infra.local.stack import LocalStack
from tests.agents import MISSING, SLEEPER
from tests.offline_models import OfflineModels

ROOT = Path(__file__).parents[3]

#: Which models a new prototype is to have.
MODELS = ROOT / "atoll/command/templates/prototype/models.toml"

#: How long one command may take, in s.
COMMAND_S = 40.0


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """The JSON of each line."""
        return [json.loads(line) for line in self.out.splitlines()]


class Screen(io.StringIO):
    """A terminal, as far as a program asks what it prints to."""

    def isatty(self) -> bool:
        """Say so."""
        return True


class Program:
    """The program `atoll`, in this process or in one of its own."""

    def __init__(self, url: str, key: str, folder: Path) -> None:
        self.url = url
        self.folder = folder
        self.variables = {"ATOLL_URL": url, "ATOLL_API_KEY": key, "ATOLL_CONFIG": str(folder / "config")}
        self.environment = {**os.environ, **self.variables, "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
        self.environment |= {"TERM": "xterm-256color"}
        for name in ("NO_COLOR", "FORCE_COLOR", "ATOLL_SERVER"):
            self.environment.pop(name, None)

    def __call__(self, *arguments: str, given: str = "", **variables: str) -> Done:
        """Run it without a terminal, from its first function on: starting a process takes longer than most commands."""
        return self._run(arguments, variables, given, io.StringIO(), io.StringIO())

    def on_screen(self, *arguments: str, **variables: str) -> str:
        """Run it as `__call__` does, with what it prints to a terminal, and return that."""
        screen = Screen()
        self._run(arguments, {"TERM": "xterm-256color", "COLUMNS": "120", **variables}, "", screen, screen)
        return screen.getvalue()

    def _run(
        self, arguments: Sequence[str], variables: Mapping[str, str], given: str, out: io.StringIO, err: io.StringIO
    ) -> Done:
        with (
            patch.dict(os.environ, {**self.variables, **variables}),
            patch.object(sys, "argv", ["atoll", *arguments]),
            patch.object(sys, "stdin", io.StringIO(given)),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            try:
                main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
        return Done(code, out.getvalue(), err.getvalue())

    def as_process(self, *arguments: str, **variables: str) -> Done:
        """Run it without a terminal in a process of its own."""
        done = subprocess.run(
            [sys.executable, "-m", "atoll", *arguments],
            cwd=self.folder,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def in_terminal(self, *arguments: str, keys: str = "", interrupt_after: str = "", **variables: str) -> Done:
        """Run it in a terminal of its own and return what was shown there.

        ``interrupt_after``: what is Ctrl-C's comes once this is shown.
        """
        ours, theirs = pty.openpty()
        with _children_take_interrupts():
            process = subprocess.Popen(
                [sys.executable, "-m", "atoll", *arguments],
                cwd=self.folder,
                env=self.environment | variables,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                start_new_session=True,
            )
        os.close(theirs)
        if keys:
            os.write(ours, keys.encode())
        try:
            shown = _read(ours, interrupt_after) if interrupt_after else ""
            if interrupt_after:
                process.send_signal(signal.SIGINT)
            shown += _read(ours)
            return Done(process.wait(COMMAND_S), shown, "")
        finally:
            process.kill()
            process.wait()
            os.close(ours)

    def write(self, name: str, text: str) -> str:
        """Write a file and return its path."""
        (self.folder / name).write_text(text)
        return str(self.folder / name)


@contextmanager
def _children_take_interrupts() -> Iterator[None]:
    """Begin processes that Ctrl-C ends, also where this one ignores it as a shell's job in the background does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _read(terminal: int, until: str | None = None) -> str:
    shown, deadline_s = b"", time.monotonic() + COMMAND_S
    while time.monotonic() < deadline_s and (until is None or until.encode() not in shown):
        if select.select([terminal], [], [], 0.5)[0]:
            try:
                part = os.read(terminal, 65_536)
            except OSError:  # the other end is closed (Linux)
                break
            if not part:
                break
            shown += part
    return shown.decode(errors="replace")


@pytest.fixture(scope="module")
def models() -> Iterator[OfflineModels]:
    with OfflineModels() as running:
        yield running


@pytest.fixture(scope="module")
def stack(models: OfflineModels) -> Iterator[LocalStack]:
    """A stack with the models of a new prototype, at a provider of this machine."""
    agents = [ROOT / "agents" / name for name in ("seed", "echo", "puppet")]
    offered = parse(MODELS.read_text().replace("https://api.openai.com", models.url), {"OPENAI_API_KEY": "sk-x"})
    with LocalStack(port=0, agents=[*agents, SLEEPER, MISSING], llm_proxy=offered) as running:
        yield running


@pytest.fixture(scope="module")
def program(stack: LocalStack, tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(stack.url, stack.key, tmp_path_factory.mktemp("cli"))
