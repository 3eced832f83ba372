"""Answers messages that mention it. It is called for each; between two calls nothing of it runs."""

from coral_function import Turn, agent


@agent
def take(turn: Turn) -> None:
    """Take one turn."""
    turn.state = turn.state or 0
    if turn.message is not None:
        turn.reply(answer(turn.message.sender, turn.message.text))
        turn.state += 1
        if turn.state == turn.options["ANSWERS"]:
            turn.exit()
    turn.wait_for_mention()


def answer(sender: str, text: str) -> str:
    """Return what is answered: here is the place for your own."""
    return f"You said {text!r}, {sender}."
