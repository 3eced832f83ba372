"""tally: count words. `take` is the agent as a function, `work` the same agent as a process or container."""

from __future__ import annotations

from coral_function import Turn, agent


def tallied(words: int, text: str, goal: int) -> tuple[int, str]:
    """Count a message; the words so far, and what to say about it."""
    words += len(text.split())
    return words, f"{words} words so far" + (", which is enough" if words >= goal else "")


@agent
def take(turn: Turn) -> None:
    """Take one turn. What was counted is in its state: between two turns nothing runs."""
    turn.state = turn.state or 0
    if turn.message is not None:
        turn.state, answer = tallied(turn.state, turn.message.text, turn.options["GOAL"])
        turn.reply(answer)
        print(f"{turn.message.sender}: {answer}")
        if turn.state >= turn.options["GOAL"]:
            turn.exit()
    turn.wait_for_mention()


async def work(session) -> None:  # type: ignore[no-untyped-def]
    """Wait for mentions and answer them, from the first to the last, in one process."""
    from datetime import datetime

    from coral_agent import number_option, say

    words, goal, since_ms = 0, number_option("GOAL", 100), 0
    while words < goal:
        found = await session.call("coral_wait_for_mention", {"currentUnixTime": since_ms, "maxWaitMs": 60_000})
        message = found.get("message")
        if message is None:  # nothing within one wait: once more
            continue
        since_ms = round(datetime.fromisoformat(message["timestamp"]).timestamp() * 1000) + 1
        words, answer = tallied(words, message["text"], goal)
        reply = {"threadId": message["threadId"], "content": answer, "mentions": [message["senderName"]]}
        await session.call("coral_send_message", reply)
        say(f"{message['senderName']}: {answer}")
