"""Does what the message of its turn says in JSON, or what its option FIRST says when it is started.

``{"print": text, "sleep": seconds, "exit": code, "raise": text, "answer": anything}``
"""

import json
import os
import sys
import time
from typing import Any


def take(turn: dict[str, Any], context: Any) -> Any:
    """Take a turn; without another answer count the turns, and wait for any message."""
    text = turn["message"]["text"] if "message" in turn else turn["agent"]["options"].get("FIRST", "{}")
    wanted = json.loads(text)
    if "print" in wanted:
        print(wanted["print"], os.getpid())
        print("and an error", file=sys.stderr, end="")
    time.sleep(wanted.get("sleep", 0))
    if "exit" in wanted:
        os._exit(wanted["exit"])
    if "raise" in wanted:
        raise RuntimeError(wanted["raise"])
    if "answer" in wanted:
        return wanted["answer"]
    state = turn.get("state") or {"turns": 0}
    return {"state": {"turns": state["turns"] + 1}, "wait": {"for": "message"}}
