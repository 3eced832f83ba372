"""Keys that a document has and its model does not: they are read over, as Coral does, and warned of."""

from collections.abc import Iterator, Mapping
from itertools import islice
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
    found = _unknown(document, model.model_dump(by_alias=True), "", by_name)
    # To look for what is meant takes longer than all else: a body may have a hundred thousand such keys.
    named = [_named(*each) for each in islice(found, MOST_NAMED)]
    if not named:
        return None
    others = sum(1 for _ in found)
    return f"not known, and without effect: {', '.join(named)}{f' and {others} more' if others else ''}"


def _unknown(
    document: Any, known: Any, path: str, by_name: bool, depth: int = 0
) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
    """Yield each unknown key: its path, the key, and the objects that have it and that it is not in."""
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
                yield place, str(key), document, known
    elif isinstance(document, list) and isinstance(known, list) and len(document) == len(known):
        for index, (value, inner) in enumerate(zip(document, known, strict=True)):
            yield from _unknown(value, inner, f"{path}[{index}]", by_name, depth + 1)


def _named(place: str, key: str, document: Mapping[str, Any], known: Mapping[str, Any]) -> str:
    """Return the path of an unknown key, with the key that may have been meant."""
    import difflib  # not at the top: few requests have such a key

    candidates = [str(each) for each in known if each not in document]
    meant = difflib.get_close_matches(key[:NAMED_CHARS], candidates, n=1)
    # Of a header: nothing but printable ASCII.
    shown = ascii(place[-NAMED_CHARS:])[1:-1]
    return f"{shown} (is {meant[0]} meant?)" if meant else shown
