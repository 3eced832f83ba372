"""The blocks of code that the documents print, and the marks of those that no test can run.

A block that is not run has a mark on the line above it, with one of the reasons below::

    <!-- not run: needs AWS -->

A block whose first line is a comment with a path (``# thinker/agent.py``) is that file.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]

#: What is read, in this order.
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "agents/README.md",
    "tests/README.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md")),
)

#: What is done with a block of each language is in `tests.documents.test_blocks` and `tests.documents.test_running`.
LANGUAGES = ("sh", "python", "js", "ts", "toml", "yaml", "json", "http", "text", "mermaid")

#: Why a block is not run. There are no others.
REASONS = (
    "needs AWS",
    "needs Docker",
    "runs until Ctrl-C",
    "runs in an agent",
    "installs over the network",
    "takes minutes",
)

_MARK = re.compile(r"^\s*<!-- not run: (.*) -->$")
_FILE = re.compile(r"(?:#|//) ([\w.-]+(?:/[\w.-]+)*\.\w+)")


@dataclass(frozen=True)
class Block:
    """A block of code."""

    page: str
    #: The line of its fence, counted from 1, and the line below it.
    line: int
    below: int
    #: Empty when it has none, as an indented block.
    language: str
    text: str
    #: Why it is not run; ``None`` for one that is.
    reason: str | None

    @property
    def place(self) -> str:
        """Where it is, as editors and terminals make a link of it."""
        return f"{self.page}:{self.line}"

    @cached_property
    def file(self) -> str | None:
        """The file that it is, if its first line names one."""
        named = _FILE.fullmatch(self.text.partition("\n")[0])
        return named.group(1) if named else None


def blocks_of(page: str, text: str | None = None) -> list[Block]:
    """Return the blocks of a page, or of a text in its place."""
    text = (ROOT / page).read_text() if text is None else text
    lines = text.splitlines()
    found = []
    for token in MarkdownIt().parse(text):
        if token.type in ("fence", "code_block") and token.map is not None:
            first = token.map[0]
            marked = _MARK.match(lines[first - 1]) if first else None
            reason = marked.group(1) if marked else None
            found.append(Block(page, first + 1, token.map[1] + 1, token.info.strip(), token.content, reason))
    return found


def marks_of(page: str) -> int:
    """Return how many marks a page has, whatever they are above."""
    comments = (token.content for token in MarkdownIt().parse((ROOT / page).read_text()) if token.type == "html_block")
    return sum(bool(_MARK.match(line)) for comment in comments for line in comment.splitlines())


def spans_of(page: str) -> list[tuple[int, str]]:
    """Return the code within the sentences of a page, each with the line that its paragraph begins in."""
    found = []
    for token in MarkdownIt("commonmark").enable("table").parse((ROOT / page).read_text()):
        line = token.map[0] + 1 if token.map else 0
        found += [(line, child.content) for child in token.children or () if child.type == "code_inline"]
    return found
