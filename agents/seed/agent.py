"""seed: fill a session with threads and messages, then exit."""

from coral_agent import Session, list_option, number_option, say, sleep_ms


async def work(session: Session) -> None:
    """Make `SEED_THREAD_COUNT` threads of `SEED_MESSAGE_COUNT` messages, `OPERATION_DELAY` between any two calls."""
    pause_ms = number_option("OPERATION_DELAY")
    participants, mentions = list_option("PARTICIPANTS"), list_option("MENTIONS")

    for thread_number in range(number_option("SEED_THREAD_COUNT", 1)):
        if thread_number:
            await sleep_ms(pause_ms)
        name = f"thread {thread_number}"
        created = await session.call("coral_create_thread", {"threadName": name, "participantNames": participants})
        say(f"created {name}")

        for message_number in range(number_option("SEED_MESSAGE_COUNT")):
            await sleep_ms(pause_ms)
            content = f"message {message_number}"
            message = {"threadId": created["thread"]["id"], "content": content, "mentions": mentions}
            await session.call("coral_send_message", message)
            say(f"sent {content} to {name}")
