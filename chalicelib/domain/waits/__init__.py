"""Waiting for a message in the session's log."""

from chalicelib.domain.waits.wait import Paused, Terms, for_agent, for_mention, for_message, resume

__all__ = ["Paused", "Terms", "for_agent", "for_mention", "for_message", "resume"]
