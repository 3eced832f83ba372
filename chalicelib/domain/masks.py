"""Hides secrets in what agents print: the values of their secret options, and the secrets of agents.

A value shorter than `SHORTEST` characters is left: it would be found everywhere, and hiding it would tell it.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from chalicelib.domain import agent_secrets, option_values, options
from chalicelib.domain.sealing import Unreadable
from chalicelib.wire.logs import CUT, MAX_TEXT_CHARS

if TYPE_CHECKING:
    from chalicelib.stores import Stores

logger = logging.getLogger(__name__)

#: What stands for a secret.
HIDDEN = "***"

#: No shorter text is hidden.
SHORTEST = 4

#: A secret with a longer line is known by so many characters of it, and hides the rest of the line that has them.
KNOWN_BY = 1_024


class Mask:
    """Hides some texts in lines."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        lines = {line.strip() for secret in secrets for line in secret.splitlines()}
        #: The lines of the secrets by what they begin with: the cost of a search does not grow with their number.
        self._by_head: dict[str, list[str]] = defaultdict(list)
        for line in lines:
            if len(line) >= SHORTEST:
                self._by_head[line[:SHORTEST]].append(line)
        self._heads = frozenset(self._by_head)

    def applied(self, line: str) -> str:
        """Return a line with its secrets hidden, and cut after `MAX_TEXT_CHARS` of what it had."""
        parts, passed = [], 0
        for begin, end in sorted(self._secrets_in(line)):
            if begin >= MAX_TEXT_CHARS:
                break
            if begin >= passed:
                parts += [line[passed:begin], HIDDEN]
            passed = max(passed, end)
        parts.append(line[passed:MAX_TEXT_CHARS])
        return "".join(parts) + (CUT if len(line) > MAX_TEXT_CHARS else "")

    def _secrets_in(self, line: str) -> Iterator[tuple[int, int]]:
        yield from (found.span() for found in agent_secrets.IN_TEXT.finditer(line))
        if not self._heads:
            return
        for at in range(min(len(line) - SHORTEST + 1, MAX_TEXT_CHARS)):
            if (head := line[at : at + SHORTEST]) in self._heads:
                for secret in self._by_head[head]:
                    if line.startswith(secret[:KNOWN_BY], at):
                        yield at, at + len(secret) if len(secret) <= KNOWN_BY else len(line)


def of(text: str | None) -> Mask:
    """Return what hides the secrets among an agent's option values (JSON text)."""
    return Mask(options.secret_texts(options.ResolvedOptions.from_json(text)) if text else ())


def of_agent(stores: "Stores", session_id: str, name: str) -> Mask | None:
    """Read what is to be hidden in the output of an agent; ``None`` when that cannot be known any more.

    A session that is removed loses its items one by one: an agent whose values are gone is not one without values.
    """
    stored = stores.agents.options_of(session_id, name)
    if stored is None:
        agent = stores.agents.find(session_id, name)
        if agent is None or agent.has_options:
            return None
    try:
        return of(option_values.text_of(stores, stored, session_id=session_id, agent=name))
    except Unreadable as error:
        logger.warning("secrets unknown", extra={"session": session_id, "agent": name, "reason": str(error)})
        return None
