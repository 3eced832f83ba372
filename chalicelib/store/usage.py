"""``USE#`` items of the api-keys table: what a key or a namespace has taken of its quotas; none without quotas.

A *scope* is whose quotas they are: ``key#<id>`` or ``namespace#<name>``. Which sessions are open is one item, changed
by comparing and swapping; a rate is another, changed by one conditional write that no other one gets in the way of.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

from chalicelib.store.api_keys import USE
from chalicelib.store.items import Item, Key, Unprocessed, tries
from chalicelib.store.table import Table

#: How long an item is kept that nobody changes, in s: longer than any session lives.
_OPEN_KEPT_S = 400 * 24 * 3600
_RATE_KEPT_S = 24 * 3600


@dataclasses.dataclass(frozen=True)
class Opening:
    """A session that counts as open; times in epoch ms."""

    namespace: str
    agents: int
    taken_at_ms: int
    #: Since when its agents run; ``None`` while it waits for its execution.
    since_ms: int | None


@dataclasses.dataclass(frozen=True)
class Usage:
    """What a scope has taken of its quotas."""

    #: By the ids of sessions.
    openings: Mapping[str, Opening] = dataclasses.field(default_factory=dict)
    #: A day (since 1970, UTC), and how long agents of sessions that have ended ran in it, each for itself.
    day: int = 0
    used_ms: int = 0
    #: When (epoch µs) the creations so far are paid for, at the rate that is allowed.
    paid_until_us: int = 0
    #: When the open sessions were last compared with the sessions that there are.
    compared_at_ms: int = 0
    version: int = 0

    def to_item(self) -> Item:
        """Return the attributes of the item, but for its key and its end."""
        openings = {name: list(dataclasses.astuple(opening)) for name, opening in self.openings.items()}
        return {
            "openings": openings,
            "day": self.day,
            "usedMs": self.used_ms,
            "paidUntilUs": self.paid_until_us,
            "comparedAtMs": self.compared_at_ms,
            "version": self.version,
        }

    @classmethod
    def from_item(cls, item: Mapping[str, Any]) -> Self:
        """Read an item."""
        return cls(
            openings={name: Opening(*parts) for name, parts in item["openings"].items()},
            day=item["day"],
            used_ms=item["usedMs"],
            paid_until_us=item["paidUntilUs"],
            compared_at_ms=item["comparedAtMs"],
            version=item["version"],
        )


class Usages:
    """What of their quotas keys and namespaces have taken."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def change(self, scope: str, changed: Callable[[Usage], Usage]) -> Usage:
        """Change what a scope has taken, in line with every other change of it, and return it as it is now.

        ``changed`` is called again when another change came first; what it returns unchanged is not written, what it
        raises is raised on. Raises `Unprocessed` when others are quicker for longer than a call may wait.
        """
        item = self._table.get(_open_key(scope))
        for _ in tries(self._table.clock):
            before = Usage.from_item(item) if item else Usage()
            after = changed(before)
            if after is before:
                return before
            after = dataclasses.replace(after, version=before.version + 1)
            done, item = self._table.try_put(
                {**_open_key(scope), **after.to_item(), "expiresAt": self._table.now_s() + _OPEN_KEPT_S},
                when="#version = :version" if item else "attribute_not_exists(#keyHash) OR #expiresAt <= :now",
                values={":version": before.version} if item else {":now": self._table.now_s()},
            )
            if done:
                return after
        raise Unprocessed(f"what is open of {scope} is changed by too many at once")

    def pay(self, scope: str, *, interval_us: int, ahead_us: int) -> int:
        """Take one from a token bucket; return 0, or how long (µs) until the next one where none is left.

        A token comes each ``interval_us``, and as many are kept as come in ``ahead_us``. One conditional write, or two:
        DynamoDB has no maximum of two numbers, so a bucket that was full takes another form than one that was not.
        """
        key, now_us = _rate_key(scope), self._table.clock.now_ms() * 1000
        ends = {":ends": self._table.now_s() + _RATE_KEPT_S, ":now": now_us, ":interval": interval_us}
        forms: list[tuple[str, str, dict[str, Any]]] = [
            (
                "SET #paidUntilUs = :next, #expiresAt = :ends",
                "attribute_not_exists(#paidUntilUs) OR #paidUntilUs < :now",
                {":ends": ends[":ends"], ":now": now_us, ":next": now_us + interval_us},
            ),
            (
                "SET #paidUntilUs = #paidUntilUs + :interval, #expiresAt = :ends",
                "#paidUntilUs BETWEEN :now AND :bound",
                {**ends, ":bound": now_us + ahead_us - interval_us},
            ),
        ]
        for change, when, values in forms:
            done, item = self._table.try_update(key, change, when=when, values=values)
            if done:
                return 0
        return max(1, (item["paidUntilUs"] if item else now_us) - (now_us + ahead_us - interval_us))


def _open_key(scope: str) -> Key:
    return {"keyHash": f"{USE}open#{scope}"}


def _rate_key(scope: str) -> Key:
    return {"keyHash": f"{USE}rate#{scope}"}
