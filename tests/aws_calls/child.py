"""Checks the calls of a process that a test starts: ``python -m tests.aws_calls.child <folder> <module>``.

What is wrong with a call is in a file of the folder at once, so that a process may be killed at any time.
"""

import os
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.model import OperationModel

#: Where processes of this one's tests write; the plugin sets it.
folder: Path | None = None


def command(module: str) -> list[str]:
    """Return how to run a module with its calls checked."""
    if folder is None:
        return [sys.executable, "-m", module]
    return [sys.executable, "-m", __name__, str(folder), module]


def faults() -> list[str]:
    """Return what is wrong with calls of such processes, each once."""
    if folder is None or not (file := folder / "faults").exists():
        return []
    taken = file.rename(folder / "taken")
    return taken.read_text().splitlines()


def calls() -> int:
    """Return how many calls of such processes were checked."""
    return file.stat().st_size if folder is not None and (file := folder / "calls").exists() else 0


def _run(where: Path, module: str) -> None:
    from tests.aws_calls.watch import Watch

    def append(name: str, text: str) -> None:
        with (where / name).open("a") as file:
            file.write(text)

    class Counting(Watch):
        def look(self, params: dict[str, Any], model: "OperationModel", **rest: Any) -> None:
            super().look(params, model, **rest)
            os.write(counter, b".")

    counter = os.open(where / "calls", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    Counting(lambda fault: append("faults", f"{module}: {fault}\n")).begin()
    sys.argv = [module]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _run(Path(sys.argv[1]), sys.argv[2])
