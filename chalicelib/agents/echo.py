"""echo: answers messages, and exits after so many answers."""

from typing import Any

from chalicelib.agents.here import LONGEST_SLEEP_MS, Here, ToolRefused

ANSWER = "nice message!"


def take(here: Here) -> dict[str, Any]:
    """Answer the message of a turn in its thread, mentioning its sender.

    `FROM_AGENT` and `MENTIONS` say which messages: of that agent only, and only those that mention this agent.
    """
    delay_ms = here.option("START_DELAY", 0)
    if here.turn.reason == "started" and delay_ms > LONGEST_SLEEP_MS:
        return {"wait": here.pause(delay_ms)}
    if here.turn.reason == "started":
        here.sleep_ms(delay_ms)
    answers = int(here.state.get("answers", 0))
    message = here.turn.message
    if message is not None and _is_wanted(here, message.mention_names):
        try:
            answer = {"threadId": message.thread_id, "content": ANSWER, "mentions": [message.sender_name]}
            here.call("coral_send_message", answer)
            answers += 1
        except ToolRefused as refusal:  # its thread was closed, or its sender left it, in the meantime
            here.say(f"could not answer {message.sender_name}: {refusal}")
    if answers >= here.option("ITERATION_COUNT", 20):
        return {"exit": True}
    return {"state": {"answers": answers}, "wait": _wait(here)}


def _is_wanted(here: Here, mentioned: list[str]) -> bool:
    """Return whether a message passes the filter that the wait does not apply: no wait applies both."""
    return here.name in mentioned or not (here.option("FROM_AGENT") and here.option("MENTIONS"))


def _wait(here: Here) -> dict[str, Any]:
    if sender := here.option("FROM_AGENT"):
        return {"for": "agent", "agentName": sender}
    return {"for": "mention" if here.option("MENTIONS") else "message"}
