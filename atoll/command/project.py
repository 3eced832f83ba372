"""The project's own code, for commands that need more of it than the client: it is in a checkout."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from atoll.errors import AtollError

ROOT = Path(__file__).resolve().parent.parent.parent

#: What a checkout has that an installed package has not.
MARK = "infra/local"


def checkout(command: str) -> Path:
    """Return the project's folder, of which everything can be imported from now on; raises `AtollError` without it."""
    if not (ROOT / MARK).is_dir():
        raise AtollError(
            f"`atoll {command}` needs the whole project, and only its client is installed here: in a checkout of "
            "Atoll, `make` puts the command into .venv/bin"
        )
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    return ROOT


@contextlib.contextmanager
def needs_project(command: str) -> Iterator[None]:
    """Say what to install when a package is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise AtollError(
            f"`atoll {command}` needs the package {error.name!r}, which is not installed here: "
            f"use the environment that `make` sets up ({ROOT}/.venv/bin/atoll), "
            f"or install {ROOT}/requirements-dev.txt"
        ) from error
