"""Checks text files: their ends, that JSON, TOML and YAML can be read, and that links of Markdown lead somewhere.

    python -m tests.texts [file ...]

Without names it looks at all files that git knows. `make lint` runs it, and so does pre-commit for what is committed.
"""

import json
import re
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


#: The target of a link in Markdown: a path, a heading, or both. Blocks of code have no links.
_LINK = re.compile(r"\]\(([^()\s#]*)(?:#([^()\s]+))?\)")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


def _anchors(text: str) -> set[str]:
    """Return the anchors that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", _CODE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(path: Path, text: str) -> list[str]:
    """Return the links of a Markdown file to files or headings of the repository that do not exist."""
    found = []
    for name, anchor in _LINK.findall(_CODE.sub("", text)):
        if re.match(r"[a-z]+:", name) or "…" in name:  # another site, or a pattern to fill in
            continue
        target = path.parent / name if name else path
        if not target.exists():
            found.append(f"{path}: the link to {name} leads nowhere")
        elif anchor and target.suffix == ".md" and anchor not in _anchors(target.read_text()):
            found.append(f"{path}: {name or 'this file'} has no heading #{anchor}")
    return found


def faults(path: Path) -> list[str]:
    """Return what is wrong with a file; nothing for a binary one."""
    content = path.read_bytes()
    if not content or b"\0" in content:
        return []
    found = []
    if not content.endswith(b"\n") or content.endswith(b"\n\n"):
        found.append(f"{path}: it does not end with one line break")
    if b"\r\n" in content:
        found.append(f"{path}: it has Windows line breaks")
    try:
        text = content.decode()
        READERS.get(path.suffix, str)(text)
        if path.suffix == ".md":
            found += broken_links(path, text)
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
