"""Environments beside the project's own, for tools that pin what the project pins otherwise, and for those of Node.

Each is made at its first use, under ``.venv-<name>`` or ``node_modules``, and again when its requirements change.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parent.parent


class NotInstallable(Exception):
    """The tool cannot be installed here; the message says why."""


def programs(name: str, requirements: Path, python: Path = Path(sys.executable)) -> Path:
    """Return the folder of the programs of an environment of a Python, installed when it is not yet.

    Raises `NotInstallable`.
    """
    folder = ROOT / f".venv-{name}"

    def install() -> None:
        uv = str(Path(sys.executable).with_name("uv"))
        _run([uv, "venv", "--quiet", "--clear", "--python", str(python), str(folder)])
        _run([uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), "-r", str(requirements)])

    _installed(folder, requirements, install)
    return folder / "bin"


def node(package: Path | None = None) -> str:
    """Return the path of Node, with the dependencies of a folder's ``package.json``, if any, installed in that folder.

    Raises `NotInstallable`.
    """
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        raise NotInstallable("node and npm are not on this machine")
    if package is not None:
        command = [npm, "ci", "--no-audit", "--no-fund", f"--prefix={package}"]
        _installed(package / "node_modules", package / "package-lock.json", lambda: _run(command))
    return found


def _installed(folder: Path, requirements: Path, install: Callable[[], None]) -> None:
    """Install what is wanted into a folder, unless that was done for the same requirements."""
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    mark = folder / ".installed"
    folder.mkdir(exist_ok=True)
    # Tests run side by side: one of them installs, the others wait for it.
    with requirements.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.is_file() or mark.read_text() != wanted:
            install()
            mark.write_text(wanted)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise NotInstallable(f"{' '.join(command[1:4])}: {(done.stderr or done.stdout).strip()[-300:]}")
