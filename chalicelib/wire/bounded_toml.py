"""TOML that is parsed only when it can be without much memory.

For each part of a dotted key ``tomllib`` makes a copy of all that are before it, so one key of 300 KB takes more memory
than there is. What counts is found by one pass over the text, which knows strings, comments, brackets and dots.
"""

import re
import tomllib
from collections.abc import Callable
from typing import Any

#: How deep a key may be: its parts, and the brackets around it.
MAX_DEPTH = 32
#: How many keys a text may have, each part of a dotted key and of a table's name among them. Coral's largest file, of
#: 512 options, has some 8,000.
MAX_KEYS = 10_000

#: Strings and comments as a whole, and what structures a text. One that is never closed goes to the end: so each
#: character is looked at once.
_TOKEN = re.compile(
    r"""
      (?P<skipped> \#[^\n]*
        | \"{3} (?: [^\\] | \\(?:.|\Z) )*? (?: \"{3,5} | \Z )
        | '{3} .*? (?: '{3,5} | \Z )
        | " (?: [^"\\\n] | \\[^\n] )* "?
        | ' [^'\n]* '?
      )
      | [\[\]{}=,.\n]
    """,
    re.VERBOSE | re.DOTALL,
)


def loads(text: str, *, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """Read a TOML text; raise ``ValueError`` if it is not TOML, and for more depth or keys than are taken."""
    _check(text.replace("\r\n", "\n"))
    return tomllib.loads(text, parse_float=parse_float)


def _check(text: str) -> None:
    brackets, dots, keys, fresh, in_header = 0, 0, 0, True, False
    for token in _TOKEN.finditer(text):
        if token["skipped"] is not None:
            continue
        mark = token[0]
        in_header = in_header or (mark == "[" and fresh)
        if mark in "[{":
            brackets += 1
        elif mark in "]}":
            brackets = max(0, brackets - 1)
        if mark == "=" or (mark == "]" and in_header and brackets == 0):
            keys, in_header = keys + 1 + dots, False
        dots = dots + 1 if mark == "." else 0
        # A table's name begins a line, outside of brackets.
        fresh = mark == "\n" and brackets == 0
        if brackets + dots + 1 > MAX_DEPTH:
            raise ValueError(
                f"line {text.count(chr(10), 0, token.start()) + 1} is nested deeper than {MAX_DEPTH} levels"
            )
        if keys > MAX_KEYS:
            raise ValueError(f"it has more than {MAX_KEYS} keys")
