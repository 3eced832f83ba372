"""seed: fills a session with threads and messages, and exits."""

from typing import Any

from chalicelib.agents.here import LONGEST_SLEEP_MS, Here


def take(here: Here) -> dict[str, Any]:
    """Make `SEED_THREAD_COUNT` threads of `SEED_MESSAGE_COUNT` messages, `OPERATION_DELAY` between any two calls.

    A turn does as many as it has time for; what it has done is in its state.
    """
    delay_ms = here.option("START_DELAY", 0)
    if here.turn.reason == "started" and delay_ms > LONGEST_SLEEP_MS:
        return {"wait": here.pause(delay_ms)}
    if here.turn.reason == "started":
        here.sleep_ms(delay_ms)
    pause_ms = here.option("OPERATION_DELAY", 0)
    each = here.option("SEED_MESSAGE_COUNT", 0) + 1
    first = done = int(here.state.get("done", 0))
    thread_id = here.state.get("threadId")
    while done < here.option("SEED_THREAD_COUNT", 1) * each:
        # A pause that was slept through between two turns is over.
        if done > first:
            if pause_ms > LONGEST_SLEEP_MS or here.is_long:
                return {"state": {"done": done, "threadId": thread_id}, "wait": here.pause(pause_ms)}
            here.sleep_ms(pause_ms)
        thread_id = _operate(here, divmod(done, each), thread_id)
        done += 1
    return {"exit": True}


def _operate(here: Here, which: tuple[int, int], thread_id: Any) -> Any:
    """Make a thread, or send a message to it; return the thread's id."""
    thread, place = which
    if place == 0:
        created = {"threadName": f"thread {thread}", "participantNames": here.option("PARTICIPANTS", [])}
        return here.call("coral_create_thread", created)["thread"]["id"]
    message = {"threadId": thread_id, "content": f"message {place - 1}", "mentions": here.option("MENTIONS", [])}
    here.call("coral_send_message", message)
    return thread_id
