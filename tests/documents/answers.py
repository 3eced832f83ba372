"""How a printed answer and one that came are compared: what differs from run to run is free, the rest is not."""

import json
import re
from collections.abc import Iterator
from typing import Any

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z|\b\d\d:\d\d:\d\d\.\d{3}\b")

#: What stands in a printed text for what is left out.
_LEFT_OUT = "…"


def different_json(printed: str, output: str) -> Iterator[str]:
    """Say where the last JSON value of an output differs from the printed one."""
    try:
        came = _last_of(output)
    except ValueError as error:
        yield str(error)
        return
    yield from _differences(json.loads(_free(printed)), json.loads(_free(json.dumps(came))), "answer")


def different_lines(printed: str, output: str) -> Iterator[str]:
    """Say where two texts differ, but for spaces at the beginnings of lines."""
    ours, theirs = ([line.strip() for line in _free(text).splitlines()] for text in (printed, output))
    if len(ours) != len(theirs):
        yield f"{len(theirs)} lines came, printed are {len(ours)}"
    for number, (one, other) in enumerate(zip(ours, theirs, strict=False), 1):
        yield from _differences(one, other, f"line {number}")


def _free(text: str) -> str:
    """Leave out times, and number ids by their first appearance: the same one is the same again."""
    numbers: dict[str, int] = {}
    text = _ID.sub(lambda found: f"<id {numbers.setdefault(found[0], len(numbers) + 1)}>", text)
    return _TIME.sub("<time>", text)


def _last_of(output: str) -> Any:
    decoder, value, place = json.JSONDecoder(), None, 0
    while (found := re.compile(r"\S").search(output, place)) is not None:
        value, place = decoder.raw_decode(output, found.start())
    if not place:
        raise ValueError("nothing came")
    return value


def _differences(printed: Any, came: Any, where: str) -> Iterator[str]:
    if isinstance(printed, dict) and isinstance(came, dict):
        for name in [*printed, *(came.keys() - printed.keys())]:
            if name not in came:
                yield f"{where}.{name} is printed, and did not come"
            elif name not in printed:
                yield f"{where}.{name} came, and is not printed"
            else:
                yield from _differences(printed[name], came[name], f"{where}.{name}")
    elif isinstance(printed, list) and isinstance(came, list):
        if len(printed) != len(came):
            yield f"{where} has {len(came)} elements, printed are {len(printed)}"
        for number, (one, other) in enumerate(zip(printed, came, strict=False)):
            yield from _differences(one, other, f"{where}[{number}]")
    elif isinstance(printed, str) and isinstance(came, str):
        if not re.fullmatch(".*".join(map(re.escape, printed.split(_LEFT_OUT))), came, re.DOTALL):
            yield f"{where} is {came!r}, printed is {printed!r}"
    elif type(printed) is not type(came) or printed != came:
        yield f"{where} is {came!r}, printed is {printed!r}"
