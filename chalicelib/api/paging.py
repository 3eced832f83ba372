"""Listings page by page: ``limit`` and ``cursor`` in the query, the next cursor in a header, the body a plain array."""

import dataclasses
import hashlib
import hmac
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import ClassVar, Generic, Self, TypeVar

from chalice.app import Request

from chalicelib.clock import Clock
from chalicelib.domain.errors import BadRequest, TooLarge
from chalicelib.store.api_keys import ApiKeyRecord
from chalicelib.wire import base64url
from chalicelib.wire.base import WireModel

#: Names the cursor of the next page; it is not there when the listing is complete.
CURSOR_HEADER = "Next-Cursor"

#: How many entries a page has at most.
MAX_LIMIT = 1_000

#: Largest body of an answer. A Lambda returns at most 6 MB, in which API Gateway's envelope escapes every quote.
MAX_ANSWER_BYTES = 5_000_000
MAX_ESCAPED_BYTES = 6_000_000

#: How long collecting a page may take: API Gateway times out after 29 s.
TIME_LIMIT_MS = 15_000

_MAC_BYTES = 12
_HOW_TO_PAGE = (
    "read it page by page: listings take limit and cursor (the next one is in the header Next-Cursor), and the agents, "
    "threads and messages of a session are listings too: /agent, /thread and /thread/{threadId}/message under it"
)

T = TypeVar("T")
WireT = TypeVar("WireT", bound=WireModel)


class Page(Generic[WireT]):
    """One page of a listing, and the cursor of the next one."""

    def __init__(self, shown: Sequence[WireT], cursor: str | None, texts: Sequence[str] | None = None) -> None:
        self.shown = shown
        self.cursor = cursor
        self._texts = texts if texts is not None else list(map(_json, shown))

    @property
    def text(self) -> str:
        """The page as a JSON array."""
        return f"[{','.join(self._texts)}]"


@dataclasses.dataclass(frozen=True)
class Paging:
    """What a request says of the page it wants."""

    #: How many entries it has at most; ``None`` when the caller did not ask for pages and gets all.
    limit: int | None
    #: Behind which entry the page begins; where that is only the listing knows.
    start: str | None
    #: Each ``key:value`` that an entry must be annotated with.
    annotations: tuple[str, ...]
    deadline_ms: int
    clock: Clock
    _secret: bytes
    _scope: bytes

    #: The parameter that says where a page begins.
    parameter: ClassVar[str] = "cursor"
    #: Whether a caller who does not ask for pages gets all.
    whole: ClassVar[bool] = True

    @classmethod
    def of(
        cls, request: Request, caller: ApiKeyRecord, clock: Clock, listing: Sequence[str], *, filtered: bool
    ) -> Self:
        """Read the query of a request for a listing (its route and what its path names).

        A cursor is authentic for one key, one listing and one filter only, and all that it says is where to go on
        within that: it reaches nothing that its bearer does not. Raises `BadRequest` for a wrong parameter or cursor.
        """
        query = request.query_params
        annotations = tuple(query.getlist("annotations")) if filtered and query and "annotations" in query else ()
        for wanted in annotations:
            if ":" not in wanted:
                raise BadRequest(f"annotations: {wanted[:80]!r} is not of the form key:value")
        limit, cursor = (query.get("limit"), query.get(cls.parameter)) if query else (None, None)
        scope = "\0".join([*listing, *sorted(annotations)]).encode()
        paging = cls(
            limit=None if cls.whole and limit is None and cursor is None else _limit(limit),
            start=None,
            annotations=annotations,
            deadline_ms=clock.now_ms() + TIME_LIMIT_MS,
            clock=clock,
            _secret=caller.key_hash.encode(),
            _scope=scope,
        )
        return paging if cursor is None else dataclasses.replace(paging, start=paging.opened(cursor))

    @property
    def read_limit(self) -> int | None:
        """How many items to ask DynamoDB for at once: one more than the page has, unless a filter leaves some out.

        ``None`` is as many as DynamoDB reads in one call, 1 MB.
        """
        return None if self.annotations or self.limit is None else self.limit + 1

    def page(
        self,
        found: Iterable[T],
        show: Callable[[T], WireT | None],
        *,
        position: Callable[[T], str],
        annotations: Callable[[T], Mapping[str, str]] | None = None,
    ) -> Page[WireT]:
        """Make a page of a listing from ``start`` on; entries for which ``show`` returns ``None`` are skipped.

        A page ends with its limit, its bytes or its time. A caller who did not ask for pages gets all; when bytes or
        time end that, the listing is `TooLarge`: a client without cursors must not mistake a part for the whole.
        """
        entries: list[WireT] = []
        texts: list[str] = []
        size, last = 2, self.start
        for each in found:
            if len(texts) == self.limit:
                return Page(entries, self.sealed(last), texts)
            if self.clock.now_ms() > self.deadline_ms:
                return self._ended(entries, last, texts, f"the listing takes more than {TIME_LIMIT_MS} ms")
            try:
                entry = show(each) if annotations is None or self._wanted(annotations(each)) else None
            except TooLarge as error:
                if self.limit is not None and texts:  # the next page begins with it, and says so
                    return Page(entries, self.sealed(last), texts)
                raise TooLarge(f"{position(each)!r}: {error}", next_cursor=self.sealed(position(each))) from error
            if entry is not None:
                text = _json(entry)
                size += _weight(text) + 1
                if size > MAX_ANSWER_BYTES:
                    if not texts:
                        check_size(text)
                    return self._ended(entries, last, texts, f"the listing has more than {MAX_ANSWER_BYTES} bytes")
                entries.append(entry)
                texts.append(text)
            last = position(each)
        return Page(entries, self.end(last), texts)

    def end(self, last: str | None) -> str | None:
        """Return the cursor of a page that ends the listing behind its last entry: there is nothing to go on to."""
        return None

    def sealed(self, position: str | None) -> str:
        """Return the cursor of a position."""
        text = (position or "").encode()
        return base64url.encoded(self._mac(text) + text)

    def opened(self, cursor: str) -> str:
        """Return the position of a cursor; raise `BadRequest` for one of another listing, filter or API key."""
        try:
            raw = base64url.decoded(cursor)
            mac, text = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
            if hmac.compare_digest(mac, self._mac(text)):
                return text.decode()
        except ValueError:
            pass
        raise BadRequest(f"cursor: {cursor[:80]!r} is not of this listing and API key")

    def _mac(self, text: bytes) -> bytes:
        return hmac.digest(self._secret, self._scope + b"\0\0" + text, hashlib.sha256)[:_MAC_BYTES]

    def _wanted(self, annotations: Mapping[str, str]) -> bool:
        pairs = {f"{key}:{value}" for key, value in annotations.items()}
        return pairs.issuperset(self.annotations)

    def _ended(self, entries: list[WireT], last: str | None, texts: list[str], why: str) -> Page[WireT]:
        if self.limit is None:
            raise TooLarge(f"{why}: {_HOW_TO_PAGE}")
        return Page(entries, self.sealed(last), texts)


class LogPaging(Paging):
    """Pages of a log that may grow: a cursor is a position in it, whoever asks, and the last page has one too."""

    parameter: ClassVar[str] = "after"
    #: What a cursor looks like.
    pattern: ClassVar[str] = "[0-9]{1,13}"
    whole: ClassVar[bool] = False

    def sealed(self, position: str | None) -> str:
        """Return the position itself."""
        return position or "0"

    def opened(self, cursor: str) -> str:
        """Return the position; raise `BadRequest` for a text that is not a cursor."""
        if not re.fullmatch(self.pattern, cursor):
            raise BadRequest(f"after: {cursor[:20]!r} is not a cursor of this listing: the number of an entry, or 0")
        return str(int(cursor))

    def end(self, last: str | None) -> str | None:
        """Return where the log is to be read on later."""
        return self.sealed(last)

    def _ended(self, entries: list[WireT], last: str | None, texts: list[str], why: str) -> Page[WireT]:
        return Page(entries, self.sealed(last), texts)


class LinePaging(LogPaging):
    """Pages of lines that may come from several streams: a cursor is a position, or a time and a place in each."""

    #: ``time-agent.ms.lines-…`` (`chalicelib.aws.session_logs`), one for each agent at most.
    pattern: ClassVar[str] = r"[0-9]{1,13}(-[0-9]{1,3}\.[0-9]{1,13}\.[0-9]{1,7}){0,128}"

    def opened(self, cursor: str) -> str:
        """Return the cursor; raise `BadRequest` for a text that is not one."""
        if not re.fullmatch(self.pattern, cursor):
            raise BadRequest(
                f"after: {cursor[:80]!r} is not a cursor of this listing: the {CURSOR_HEADER} of a page, or 0"
            )
        return cursor


def _json(entry: WireModel) -> str:
    return entry.model_dump_json(by_alias=True, exclude_none=True)


def check_size(text: str) -> None:
    """Raise `TooLarge` for a body that a Lambda cannot return."""
    if _weight(text) > MAX_ANSWER_BYTES:
        raise TooLarge(f"the answer has more than {MAX_ANSWER_BYTES} bytes: {_HOW_TO_PAGE}")


def fits(answer: WireModel) -> bool:
    """Return whether a Lambda can return an answer."""
    return _weight(_json(answer)) <= MAX_ANSWER_BYTES


def _weight(text: str) -> int:
    """Return a body's bytes, or what it takes of the envelope's when that is the tighter limit."""
    # Lambda's runtime for Python 3.12 and later leaves what is not ASCII as it is.
    escaped = json.dumps(text, ensure_ascii=sys.version_info < (3, 12))
    return max(len(text.encode()), len(escaped.encode()) * MAX_ANSWER_BYTES // MAX_ESCAPED_BYTES)


def _limit(text: str | None) -> int:
    if text is None:
        return MAX_LIMIT
    if not re.fullmatch("[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise BadRequest(f"limit: {text[:20]!r} is no number from 1 to {MAX_LIMIT}")
    return int(text)
