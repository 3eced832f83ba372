"""Waiting for a message in the session's log."""

from chalicelib.domain.waits.cancelling import cancel
from chalicelib.domain.waits.looking import first_heard, hearing_of
from chalicelib.domain.waits.wait import Heard, Paused, Terms, for_agent, for_mention, for_message, resume

__all__ = [
    "Heard",
    "Paused",
    "Terms",
    "cancel",
    "first_heard",
    "for_agent",
    "for_mention",
    "for_message",
    "hearing_of",
    "resume",
]
