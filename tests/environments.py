"""Virtual environments beside the project's own, for tools that pin what the project pins otherwise.

Each is made at its first use, under ``.venv-<name>``, and again when its requirements change.
"""

import fcntl
import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


class NotInstallable(Exception):
    """The tool cannot be installed here; the message says why."""


def programs(name: str, requirements: Path) -> Path:
    """Return the folder of an environment's programs, installed when it is not yet.

    Raises `NotInstallable`.
    """
    folder = ROOT / f".venv-{name}"
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    mark = folder / ".installed"
    folder.mkdir(exist_ok=True)
    # Tests run side by side: one of them installs, the others wait for it.
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.is_file() or mark.read_text() != wanted:
            _run([sys.executable, "-m", "venv", str(folder)])
            pip = [str(folder / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            _run([*pip, "-r", str(requirements)])
            mark.write_text(wanted)
    return folder / "bin"


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        raise NotInstallable(f"{' '.join(command[1:4])}: {(done.stderr or done.stdout).strip()[-300:]}")
