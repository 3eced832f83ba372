"""What was said so far between a prototype and its model, as it is kept between turns; and how it is kept short.

A message is JSON: ``{"role": "user", "text": "initial" | "followup"}`` (the texts themselves may hold secrets, and are
not kept), ``{"role": "assistant", "text"?, "calls": [{"id", "name", "arguments", "fault"?}]}``, or ``{"role": "tool",
"id", "name", "text", "failed"}``. An iteration begins with a message of the user.
"""

import json
from collections.abc import Sequence
from typing import Any

Json = dict[str, Any]

#: How many bytes of JSON a history takes at most: no more tokens than a model of 128,000 has room for.
MAX_BYTES = 120_000
#: How many bytes of it there are for each token of a model that has less room: text has three to four of them.
BYTES_OF_TOKEN = 2

LEFT_OUT = "(left out: the conversation became too long)"
_CUT = " … (cut: the conversation became too long)"
#: A result that is not longer (in characters) is not cut.
_SHORTEST_CUT = 200


def limit_for(context_tokens: int | None) -> int:
    """Return how many bytes a history may take with a model that has room for so many tokens."""
    return MAX_BYTES if context_tokens is None else min(MAX_BYTES, context_tokens * BYTES_OF_TOKEN)


def clean(text: str) -> str:
    """Return a text as UTF-8 can have it: with U+FFFD for each half of a surrogate pair."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def bytes_of(messages: Sequence[Json]) -> int:
    """Return how many bytes a history takes."""
    return len(json.dumps(messages, ensure_ascii=False).encode("utf-8", "replace"))


def shortened(messages: Sequence[Json], limit: int) -> list[Json]:
    """Return a history that takes at most so many bytes, as far as its latest iteration allows it.

    First the results of tools are left out, the oldest first; then whole iterations, but for the message with which
    all began; and of the latest iteration results are cut, the longest first.
    """
    kept = list(messages)
    latest = max((place for place, each in enumerate(kept) if each["role"] == "user"), default=0)
    for place in range(latest):
        if bytes_of(kept) <= limit:
            return kept
        if kept[place]["role"] == "tool" and len(kept[place]["text"]) > len(LEFT_OUT):
            kept[place] = {**kept[place], "text": LEFT_OUT}
    while bytes_of(kept) > limit and (end := _end_of_oldest(kept)) is not None:
        del kept[1:end]
    while bytes_of(kept) > limit:
        longest = max(
            (each for each in kept if each["role"] == "tool"), key=lambda each: len(each["text"]), default=None
        )
        if longest is None or len(longest["text"]) <= _SHORTEST_CUT:
            break
        place = next(place for place, each in enumerate(kept) if each is longest)
        kept[place] = {**longest, "text": longest["text"].removesuffix(_CUT)[: len(longest["text"]) // 2] + _CUT}
    return kept


def _end_of_oldest(messages: Sequence[Json]) -> int | None:
    """Return where the oldest iteration ends that may be left out; ``None`` when only the latest is left."""
    starts = [place for place, each in enumerate(messages) if each["role"] == "user"][1:]
    if not starts:
        return None
    if starts[0] > 1:
        return starts[0]
    return starts[1] if len(starts) > 1 else None
