"""One shell and one Python for all blocks of a document, in a copy of the checkout.

A block that is not run is still read by the shell, with programs in place of the real ones that write down what they
are called with: loops, variables, quotes and redirections of the block are the shell's, and its commands are looked at.
So is `atoll up` or `make run` in a block that is run.

What a block installs is not fetched: an environment of Python that it makes is that of the tests, and packages of Node
are those of the tests' clients. The versions are compared with the printed ones.
"""

import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from chalicelib.domain.agent_files import FILE
from tests import environments
from tests.documents.blocks import ROOT, Block
from tests.documents.programs import CHECKS
from tests.documents.serving import wait_until_registered

#: How long a block may take, in s.
BLOCK_S = 90.0

#: What the shell does before the first block: a command that fails, or a variable that is not set, ends it.
_FIRST = "set -euo pipefail\n"

#: A program that writes down what it is called with, in a block that is not run. What a block makes itself is made.
_PROGRAM = """#!/bin/sh
[ "${0##*/} ${1:-} ${2:-}" = "atoll agents new" ] && unset ONLY_LOOK
write_down() { printf '%s\\0' "$#" "$PWD" "${0##*/}" "$@" >> "$CALLED"; exit 0; }
[ "${1:-} ${2:-}" = "-m venv" ] && mkdir -p "$3/bin" && cp "$PRETENDED"/p* "$3/bin"
[ "${0##*/} ${1:-}" = "npm install" ] && cp -RP "$PRETENDED/node_modules" .
[ -n "${ONLY_LOOK:-}" ] && write_down "$@"
"""

#: Packages of Node that agents are given.
NODE_PACKAGES = ROOT / "tests/clients/typescript"

#: How those in .venv/bin are run: with this checkout's modules, wherever the environment was installed from.
_REAL = {
    # What is to serve serves already: it is the server of the test.
    "atoll": f"""
if [ "$1" = up ]; then
  ( shift; "{sys.executable}" -m tests.documents.serving "$@" ) && write_down "$@"
fi
exec "{sys.executable}" -m atoll "$@"
""",
    "make": '[ "${1:-run}" = run ] && write_down "$@"\nexit 1\n',
    "python": f'exec "{sys.executable}" "$@"\n',
    "pip": "exit 1\n",
}

#: Runs the code of a file for each line that it is given, all in one namespace, and says when it is done.
_PYTHON = """
import sys
names = {"__name__": "__main__"}
for line in sys.stdin:
    path, first, place = line.rstrip("\\n").split("\\t")
    text = "\\n" * int(first) + open(path).read()
    exec(compile(text, place, "exec"), names)
    print("done", flush=True)
"""


class Failed(Exception):
    """A block that did not do what it should; the message says what it printed."""


class Called(NamedTuple):
    """A command of a block that is not run."""

    name: str
    arguments: list[str]
    folder: Path


class Document:
    """What runs the blocks of one document, in their order.

    Attributes
    ----------
    folder : pathlib.Path
        Where they run: what git knows of the checkout is in it.
    answers : dict
        What each block of shell has printed that was run.
    """

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.answers: dict[Block, str] = {}
        self._address = url.removeprefix("http://")
        self._notes = folder.parent / f"{folder.name}-notes"
        self._notes.mkdir()
        self._called = self._notes / "called"
        self._called.touch()
        _copy_checkout(folder)
        self._write_programs()
        self._environment = self._variables(url)
        self._shell: subprocess.Popen[str] | None = None
        self._python: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        for process in (self._shell, self._python):
            if process is not None:
                process.kill()
                process.communicate()

    def serve_node(self) -> None:
        """Have packages of Node for what the document installs; raises `NotInstallable`."""
        environments.node(ROOT / "console")
        node = environments.node(NODE_PACKAGES)
        packages = self._notes / "bin/node_modules"
        (packages / ".bin").mkdir(parents=True)
        scope = "@modelcontextprotocol"
        (packages / scope).symlink_to(NODE_PACKAGES / "node_modules" / scope)
        tsx = packages / ".bin/tsx"
        tsx.write_text(f'#!/bin/sh\nexec "{node}" "{Path(__file__).with_name("tsx.mjs")}" "$@"\n')
        tsx.chmod(0o755)

    def as_here(self, text: str) -> str:
        """Return a text with the address of this server in the place of the printed one: all that is changed."""
        return text.replace("localhost:5555", self._address)

    def write(self, block: Block) -> None:
        """Write a block that is a file; an agent's is waited for."""
        assert block.file is not None
        path = self.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
        if path.name == FILE:
            wait_until_registered(path, self._environment["ATOLL_URL"])

    def run(self, block: Block) -> str:
        """Run a block of shell and return its output; raises `Failed`."""
        script, out, errors = (self._notes / f"{block.line}.{kind}" for kind in ("sh", "out", "err"))
        script.write_text(self.as_here(block.text))
        command = f". '{script}' > '{out}' 2> '{errors}'"
        if block.reason is not None:
            command = f'export ONLY_LOOK=yes PATH="$PRETENDED:$PATH"; {command}; '
            command += 'unset ONLY_LOOK; PATH="${PATH#"$PRETENDED":}"'
        self._do(command, block, (errors, out))
        return out.read_text()

    def called(self) -> list[Called]:
        """Return what was called and not run since this was last asked."""
        written = self._called.read_text()
        self._called.write_text("")
        return list(_called(written))

    def run_python(self, block: Block) -> None:
        """Run a block of Python in the namespace of those before it; raises `Failed`."""
        if self._python is None:
            self._environment["PYTHONPATH"] += f":{self.folder}/agents"  # beside the agents' own files
            self._python = self._start([sys.executable, "-c", _PYTHON])
        code = self._notes / f"{block.line}.py"
        code.write_text(self.as_here(block.text))
        self._ask(self._python, f"{code}\t{block.line}\t{ROOT / block.page}", block)

    def run_node(self, block: Block) -> None:
        """Run a block of JavaScript by itself; raises `Failed`."""
        node = shutil.which("node")
        assert node is not None
        done = subprocess.run(
            [node, "-e", self.as_here(block.text)],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=BLOCK_S,
            check=False,
        )
        if done.returncode:
            raise Failed(f"{block.place}: {done.stderr}")

    def _do(self, command: str, block: Block, outputs: tuple[Path, Path]) -> None:
        if self._shell is None:
            self._shell = self._start(["bash", "--noprofile", "--norc"])
            assert self._shell.stdin is not None
            self._shell.stdin.write(_FIRST)
        try:
            self._ask(self._shell, f"{command}; echo done", block)
        except Failed as failure:
            said = "".join(each.read_text() for each in outputs if each.exists())
            raise Failed(f"{failure}\n{said}") from None

    def _start(self, command: list[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def _ask(self, process: subprocess.Popen[str], line: str, block: Block) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        said = ""
        deadline_s = time.monotonic() + BLOCK_S
        while not said.endswith("done\n"):
            if not select.select([process.stdout], [], [], max(0, deadline_s - time.monotonic()))[0]:
                raise Failed(f"{block.place}: it is not done after {BLOCK_S:.0f} s")
            part = os.read(process.stdout.fileno(), 65_536)
            if not part:
                raise Failed(f"{block.place}: it ended with {process.wait()}\n{said}")
            said += part.decode()

    def _variables(self, url: str) -> dict[str, str]:
        home = self._notes / "home"
        home.mkdir()
        # An answer that is an error fails the command, and says so.
        (home / ".curlrc").write_text("fail-with-body\nshow-error\n")
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        real = Path(sys.executable).parent
        return kept | {
            "HOME": str(home),
            "PATH": f"{self.folder}/.venv/bin:{real}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "ATOLL_URL": url,
            "ATOLL_CONFIG": str(home / "atoll"),
            # For blocks that run in an agent: they are only looked at.
            "CORAL_API_URL": url,
            "CORAL_AGENT_SECRET": "a-secret",
            "CALLED": str(self._called),
            "PRETENDED": f"{self._notes}/bin",
        }

    def _write_programs(self) -> None:
        for folder, names in ((self._notes / "bin", CHECKS), (self.folder / ".venv/bin", _REAL)):
            folder.mkdir(parents=True)
            for name in names:
                program = folder / name
                program.write_text(_PROGRAM + _REAL.get(name, "exit 1\n"))
                program.chmod(0o755)


def _called(written: str) -> Iterator[Called]:
    words = written.split("\0")[:-1]
    while words:
        count = int(words[0])
        folder, name, *arguments = words[1 : 3 + count]
        yield Called(name, arguments, Path(folder))
        words = words[3 + count :]


def _copy_checkout(folder: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = ROOT / name
        if source.is_file() and not source.is_symlink():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
