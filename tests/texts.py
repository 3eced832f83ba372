"""Checks text files: that each ends with one line break, and that JSON, TOML and YAML can be read.

    python -m tests.texts [file ...]

Without names it looks at all files that git knows. `make lint` runs it, and so does pre-commit for what is committed.
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent


class _AnyTag(yaml.SafeLoader):
    """Reads CloudFormation's tags too (``!Sub``, ``!GetAtt``): what they mean is checked by cfn-lint."""


_AnyTag.add_multi_constructor("!", lambda loader, suffix, node: None)


def _yaml(text: str) -> None:
    for _ in yaml.load_all(text, Loader=_AnyTag):
        pass


READERS: dict[str, Callable[[str], Any]] = {
    ".json": json.loads,
    ".toml": tomllib.loads,
    ".yaml": _yaml,
    ".yml": _yaml,
}


def faults(path: Path) -> list[str]:
    """Return what is wrong with a file; nothing for what is no text."""
    content = path.read_bytes()
    if not content or b"\0" in content:
        return []
    found = []
    if not content.endswith(b"\n") or content.endswith(b"\n\n"):
        found.append(f"{path}: it does not end with one line break")
    if b"\r\n" in content:
        found.append(f"{path}: it has line breaks of Windows")
    try:
        READERS.get(path.suffix, str)(content.decode())
    except (ValueError, yaml.YAMLError) as error:
        found.append(f"{path}: {error}")
    return found


def main(names: list[str]) -> int:
    """Print what is wrong with these files, or with all; return 1 when something is."""
    if not names:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        names = [str(ROOT / name) for name in listed.split("\0") if name]
    found = [fault for path in map(Path, names) if path.is_file() and not path.is_symlink() for fault in faults(path)]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
