"""Other Pythons on this machine, each with what packages Atoll on it."""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from infra.deploy import pythons
from infra.deploy.pythons import Version
from tests import environments

REQUIREMENTS = Path(__file__).parent / "infra/requirements-packaging.txt"


class NotFound(Exception):
    """This machine does not have the Python; the message says where it was looked for."""


def python(version: Version) -> Path:
    """Return a Python of a version that has Chalice, the running one or of an environment made for it.

    Raises `NotFound`, and `environments.NotInstallable`.
    """
    if version == sys.version_info[:2]:
        return Path(sys.executable)
    name = pythons.written(version)
    return environments.programs(f"python{name}", REQUIREMENTS, found(version)) / "python"


@functools.cache
def found(version: Version) -> Path:
    """Return the interpreter of a version; raises `NotFound`."""
    for path in _candidates(pythons.written(version)):
        asked = [str(path), "-c", "import sys; print(*sys.version_info[:2])"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False)
        if done.stdout.split() == [str(part) for part in version]:  # pyenv has programs of Pythons that are off
            return path
    raise NotFound(f"no python{pythons.written(version)} on the PATH, and none of pyenv")


def _candidates(name: str) -> Iterator[Path]:
    if on_path := shutil.which(f"python{name}"):
        yield Path(on_path)
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(root.glob(f"versions/{name}.*/bin/python{name}"))
