"""The followers table: the connections to which events are pushed.

``FOLLOWER#<connection>`` of the session-items table is one that follows a session. It is an item of the session, so
the stream has it in line with the entries of the log: an entry before it is behind the follower's beginning or is read
for it, an entry after it is pushed to it.
``FOLLOWED`` is how far the log has been pushed; its name lets one Query find it with the followers. So does that of
``FOLLOWED-BY#<agent>``: what an agent that runs as a function waits for (`chalicelib.store.turns`).

Who removes a session leaves its followers and what they have not got of the log, and puts ``FOLLOWED-END`` behind all
of it. Whoever comes to that in the stream has pushed what is before it, and deletes what was left: a follower's
connection is closed when its item goes.

The followers table has those of everything else, by topic.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Literal

from chalicelib.store.items import Item, Key
from chalicelib.store.table import Table
from chalicelib.store.turns import TurnRecord, is_turn

_PREFIX = "FOLLOWER#"
_FOLLOWED = "FOLLOWED"
_END = "FOLLOWED-END"
#: What these begin with, and the keys of turns.
_ALL = "FOLLOWE"

#: How many may follow one session, or one topic.
MOST_FOLLOWERS = 500

Topic = Literal["manager", "logs"]


@dataclasses.dataclass(frozen=True)
class SessionFollower:
    """A connection that follows one session."""

    connection_id: str
    #: The position of the log behind which it begins.
    position: int
    #: Whether its events carry cursors: it asked for them by giving one.
    cursors: bool
    #: When it is forgotten (epoch s), whatever has become of its connection.
    expires_at: int
    #: Whether it has everything up to where the log is pushed; before that, nothing else is pushed to it.
    caught_up: bool = False


@dataclasses.dataclass(frozen=True)
class Followed:
    """How far a session's log has been pushed, and to which followers."""

    position: int
    followers: Sequence[SessionFollower]
    #: The agents of the session that run as functions.
    turns: Sequence[TurnRecord] = ()

    @property
    def caught_up(self) -> list[SessionFollower]:
        """Return those to which new entries are pushed."""
        return [follower for follower in self.followers if follower.caught_up]

    @property
    def first_unpushed(self) -> int | None:
        """Return the position of the log from which on it is still read for followers; ``None`` without any."""
        reached = [self.position if follower.caught_up else follower.position for follower in self.followers]
        return min(reached) + 1 if reached else None

    @property
    def expires_at(self) -> int:
        """Return until when (epoch s) the last of the followers may be there."""
        return max(follower.expires_at for follower in self.followers)


class SessionFollowers:
    """The followers among a session's items."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, session_id: str, follower: SessionFollower) -> None:
        """Put a new follower, to be caught up in the reaction to it; one that is there is left as it is."""
        about = {"position": follower.position, "cursors": follower.cursors, "expiresAt": follower.expires_at}
        item = {**_key(session_id, follower.connection_id), **about}
        self._table.put(item, when="attribute_not_exists(#item)")

    def of_session(self, session_id: str) -> Followed:
        """Return all followers of a session."""
        items = self._table.query(
            "#sessionId = :session AND begins_with(#item, :all)", {":session": session_id, ":all": _ALL}
        )
        position, followers, waiting = 0, [], []
        for item in items:
            if item["item"] == _FOLLOWED:
                position = item["position"]
            elif is_turn(item):
                waiting.append(TurnRecord.from_item(item))
            elif item["item"] != _END:
                followers.append(_follower_of(item))
        return Followed(position, followers, waiting)

    def is_full(self, session_id: str) -> bool:
        """Return whether a session has as many followers as it may have."""
        found = self._table.query(
            "#sessionId = :session AND begins_with(#item, :prefix)",
            {":session": session_id, ":prefix": _PREFIX},
            project="#item, #expiresAt",
            limit=MOST_FOLLOWERS,
        )
        return len(list(islice(found, MOST_FOLLOWERS))) == MOST_FOLLOWERS

    def caught_up(self, session_id: str, connection_id: str, position: int) -> None:
        """Note that a follower has everything up to a position; one that is gone stays gone."""
        self._table.update(
            _key(session_id, connection_id),
            "SET #position = :position, #caughtUp = :yes",
            when="attribute_exists(#item)",
            values={":position": position, ":yes": True},
        )

    def pushed(self, session_id: str, position: int, *, expires_at: int) -> None:
        """Note how far the log is pushed."""
        self._table.put({"sessionId": session_id, "item": _FOLLOWED, "position": position, "expiresAt": expires_at})

    def end(self, session_id: str, *, expires_at: int) -> None:
        """Say that a session is gone but for its followers and what they have not got of its log."""
        self._table.put({"sessionId": session_id, "item": _END, "expiresAt": expires_at})

    def remove(self, session_id: str, connection_id: str) -> None:
        """Forget a follower."""
        self._table.delete(_key(session_id, connection_id))


class Followers:
    """The followers table: the connections that follow a topic, with their filters."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def add(self, topic: Topic, connection_id: str, wanted: Mapping[str, object], *, expires_at: int) -> None:
        """Put a follower; ``wanted`` says which events of the topic it is to get."""
        self._table.put({"topic": topic, "connectionId": connection_id, "wanted": wanted, "expiresAt": expires_at})

    def of_topic(self, topic: Topic) -> list[tuple[str, dict[str, object]]]:
        """Return the connections that follow a topic, each with what it wants; `MOST_FOLLOWERS` at most."""
        found = self._table.query("#topic = :topic", {":topic": topic}, limit=MOST_FOLLOWERS)
        return [(item["connectionId"], item["wanted"]) for item in islice(found, MOST_FOLLOWERS)]

    def remove(self, topic: Topic, connection_id: str) -> None:
        """Forget a follower."""
        self._table.delete({"topic": topic, "connectionId": connection_id})


def _key(session_id: str, connection_id: str) -> Key:
    return {"sessionId": session_id, "item": _PREFIX + connection_id}


def is_end(sort_key: str) -> bool:
    """Return whether an item of a session, by its sort key, says that all is gone but what followers need."""
    return sort_key == _END


def is_for_followers(sort_key: str) -> bool:
    """Return whether an item of a session, by its sort key, is a follower or says how far the log is pushed."""
    return sort_key.startswith(_PREFIX) or sort_key in (_FOLLOWED, _END)


def connection_of(key: Mapping[str, str]) -> str | None:
    """Return the connection that an item's key names; ``None`` for an item of another kind."""
    return key["item"].removeprefix(_PREFIX) if key["item"].startswith(_PREFIX) else None


def _follower_of(item: Item) -> SessionFollower:
    """Read the item of a follower."""
    connection_id = item["item"].removeprefix(_PREFIX)
    return SessionFollower(
        connection_id, item["position"], item["cursors"], item["expiresAt"], item.get("caughtUp", False)
    )
