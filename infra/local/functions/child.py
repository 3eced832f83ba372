"""The process in which agents' functions of one folder run, apart from Atoll's own: it imports nothing of Atoll.

    python child.py FOLDER MODULE:CALLABLE REQUESTS ANSWERS

Reads a turn a line from the file descriptor REQUESTS, ``{"mark", "turn"}``, calls ``callable(turn, None)`` as Lambda
would, and writes ``{"answer"}`` or ``{"error"}`` a line to ANSWERS. After each turn the mark is a line of both outputs:
what was printed before it belongs to that turn. The end of REQUESTS ends the process.
"""

import importlib
import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Answer turn after turn."""
    folder, handler, requests, answers = sys.argv[1:]
    # What agents share is beside their folders. The folder of this file is of no use to them.
    sys.path[:1] = [folder]
    sys.path.append(os.path.dirname(folder))
    with open(int(requests), "rb") as lines, open(int(answers), "wb", buffering=0) as out:
        for line in lines:
            request = json.loads(line)
            answer = _answered(handler, request["turn"])
            for stream in (sys.stdout, sys.stderr):
                stream.write(request["mark"] + "\n")
                stream.flush()
            out.write(answer + b"\n")


def _answered(handler: str, turn: object) -> bytes:
    try:
        answer = _function(handler)(turn, None)
        if inspect.iscoroutine(answer):
            import asyncio

            answer = asyncio.run(answer)
        return json.dumps({"answer": answer}).encode()
    except Exception as error:
        traceback.print_exc()
        return json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()


def _function(handler: str) -> Callable[[object, None], object]:
    module, _, path = handler.partition(":")
    found: Any = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    function: Callable[[object, None], object] = found
    return function


if __name__ == "__main__":
    main()
