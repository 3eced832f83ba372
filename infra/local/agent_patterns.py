"""Which folders the patterns of ``AGENTS`` stand for at the moment, and which of them are to be watched."""

import dataclasses
import itertools
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from chalicelib.domain.agent_files import FILE

#: Folders that ``*`` passes over, besides those whose names begin with a dot: dependencies, and what tools build.
EXCLUDED = frozenset({"node_modules", "__pycache__", "venv", "build", "target", "dist"})

#: Where Coral keeps a person's agents: separated by version, by name alone, and links to where they are developed.
HOME_PATTERNS = ("~/.coral/agents/*/*", "~/.coral/agents/*", "~/.coral/agents/locallinked/*/*")

#: How many parts of one pattern may have a ``*``: the depth of a search.
MOST_STARS = 4

#: How many folders are looked into and watched at most, for all patterns together.
MOST_FOLDERS = 1_000

#: How many entries of one folder are read at most.
MOST_ENTRIES = 10_000


def patterns_of(listed: str) -> list[str]:
    """Return the patterns of a list with ``:`` between them, made absolute; raise ``ValueError`` for too many ``*``."""
    patterns = [os.path.abspath(os.path.expanduser(pattern)) for pattern in listed.split(":") if pattern]
    for pattern in patterns:
        stars = sum("*" in part for part in Path(pattern).parts)
        if stars > MOST_STARS:
            raise ValueError(f"{pattern} has * in {stars} of its parts: at most {MOST_STARS} are taken")
    return patterns


@dataclasses.dataclass
class Found:
    """What patterns stand for."""

    #: Folders that may have an agent, whether its file is there yet or not, in the order of the patterns and of their
    #: names; each once, by its real path.
    agents: list[Path] = dataclasses.field(default_factory=list)
    #: Folders whose changes may change what is found.
    watched: set[Path] = dataclasses.field(default_factory=set)
    #: Whether there were more than `MOST_FOLDERS`.
    is_cut: bool = False

    def watch(self, folder: Path) -> bool:
        """Note a folder as to be watched; ``False`` when there are too many already."""
        if folder not in self.watched and len(self.watched) >= MOST_FOLDERS:
            self.is_cut = True
            return False
        self.watched.add(folder)
        return True


def find(patterns: Iterable[str]) -> Found:
    """Return what absolute patterns stand for; ``*`` is any text within one name that is not passed over."""
    found = Found()
    for pattern in patterns:
        path = Path(pattern)
        _descend(Path(path.anchor), path.parts[1:], found)
    found.agents = list(dict.fromkeys(found.agents))
    return found


def fault_of(pattern: str) -> str | None:
    """Say why an absolute pattern stands for no agent at the moment; ``None`` when it stands for one."""
    if any((folder / FILE).is_file() for folder in find([pattern]).agents):
        return None
    if "*" in pattern:
        return f"no folder with a {FILE} is like {pattern}"
    if not os.path.exists(pattern):
        return f"{pattern} is not there"
    return f"{pattern} has no {FILE}" if os.path.isdir(pattern) else f"{pattern} is no folder"


def _descend(folder: Path, parts: tuple[str, ...], found: Found) -> None:
    """Follow the parts of a pattern from a folder that is there."""
    for number, part in enumerate(parts):
        if "*" in part:
            if found.watch(folder):
                for name in _folders_like(part, folder):
                    _descend(folder / name, parts[number + 1 :], found)
            return
        if not os.path.isdir(folder / part):
            found.watch(folder)
            return
        folder = folder / part
    if found.watch(folder):
        found.agents.append(folder.resolve())


def _folders_like(part: str, folder: Path) -> Iterator[str]:
    like = re.compile(".*".join(map(re.escape, part.split("*"))), re.DOTALL)
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in itertools.islice(entries, MOST_ENTRIES))
    except OSError:  # removed meanwhile, or not for this user to read
        return
    for name in names:
        is_passed_over = name.startswith(".") or name in EXCLUDED
        # Symbolic links are followed: that is how agents are linked into ~/.coral/agents.
        if like.fullmatch(name) and not is_passed_over and os.path.isdir(folder / name):
            yield name
