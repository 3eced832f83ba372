"""Keys that a document has and its model does not: they are read over, as Coral does, and warned of."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.alias_generators import to_camel

#: How many are named, and how much of each.
MOST_NAMED = 5
NAMED_CHARS = 80

#: How deep a document is looked into: no model is deeper.
MAX_DEPTH = 32


#: Names that are read beside a model's own (`wire.custom_tools`).
_SYNONYMS = {"schema": "inputSchema", "input_schema": "inputSchema"}


def warning_of(document: Any, model: BaseModel, *, by_name: bool = True) -> str | None:
    """Return a sentence about the keys of a document that its model does not have; ``None`` when it has all.

    ``by_name`` says that keys may also be written as Python's names, with underscores.
    """
    found = list(_unknown(document, model.model_dump(by_alias=True), "", by_name))
    if not found:
        return None
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return f"not known, and without effect: {', '.join(found[:MOST_NAMED])}{more}"


def _unknown(document: Any, known: Any, path: str, by_name: bool, depth: int = 0) -> Iterator[str]:
    """Yield the path of each unknown key, with the key that may have been meant."""
    if depth > MAX_DEPTH:
        return
    if isinstance(document, dict) and isinstance(known, dict):
        for key, value in document.items():
            place = f"{path}.{key}" if path else str(key)
            other = _SYNONYMS.get(key) or (to_camel(str(key)) if by_name else key)
            name = key if key in known else other
            if name in known:
                yield from _unknown(value, known[name], place, by_name, depth + 1)
            else:
                yield _named(place, str(key), [str(each) for each in known if each not in document])
    elif isinstance(document, list) and isinstance(known, list) and len(document) == len(known):
        for index, (value, inner) in enumerate(zip(document, known, strict=True)):
            yield from _unknown(value, inner, f"{path}[{index}]", by_name, depth + 1)


def _named(place: str, key: str, candidates: list[str]) -> str:
    import difflib  # not at the top: few requests have such a key

    meant = difflib.get_close_matches(key[:NAMED_CHARS], candidates, n=1)
    # Of a header: nothing but printable ASCII.
    shown = ascii(place[-NAMED_CHARS:])[1:-1]
    return f"{shown} (is {meant[0]} meant?)" if meant else shown
