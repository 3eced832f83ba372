"""One call of a model: sent to its provider, tried again, and handed on as it comes (C.3).

It knows no HTTP of Atoll's own: an edge gives it an agent and what that asks, and so may code in this process that
calls a model in an agent's name.
"""

import email.utils
import logging
import random
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING

from chalicelib.aws.http import AddressRefused, CallFailed, Incoming, TimedOut, TooLong
from chalicelib.domain.actors import Actor
from chalicelib.domain.errors import AtollError, BadRequest
from chalicelib.models import booking, formats, requests
from chalicelib.models.calls import Caller, ModelCall, Reach
from chalicelib.models.requests import HOP_BY_HOP, ModelRequest, Prepared
from chalicelib.wire.llm_proxy import ResolvedProxy

if TYPE_CHECKING:
    from chalicelib.services import Services

logger = logging.getLogger(__name__)

#: The longest that a call may last, whatever is configured: a Lambda's time.
LONGEST_CALL_MS = 15 * 60_000
#: How long a line of a stream is kept to be read; of a longer one no usage is taken.
_LONGEST_LINE_BYTES = 1_000_000
#: By how much retries are spread.
_JITTER_MS = 1_000

#: Headers of a provider's answer that are not handed on.
_NOT_ANSWERED = HOP_BY_HOP | {"content-length", "content-encoding", "set-cookie"}
_EVENT_STREAM = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"), ("X-Accel-Buffering", "no")]


class NotAnswered(AtollError):
    """A provider that is not configured any more, or gave no answer that can be handed on (HTTP 502)."""

    status = HTTPStatus.BAD_GATEWAY


class NotAnsweredInTime(NotAnswered):
    """A provider that took too long (HTTP 504)."""

    status = HTTPStatus.GATEWAY_TIMEOUT


class ModelAnswer:
    """A provider's answer, to be iterated once and closed: a stream is handed on piece by piece as it comes."""

    def __init__(
        self, status: int, headers: list[tuple[str, str]], body: bytes = b"", stream: "_Stream | None" = None
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self._stream = stream

    @property
    def streams(self) -> bool:
        """Whether more than `body` is to come."""
        return self._stream is not None

    def __iter__(self) -> Iterator[bytes]:
        """Yield the body; of a stream each piece as it comes."""
        if self._stream is not None:
            yield from self._stream
        elif self.body:
            yield self.body

    def close(self) -> None:
        """End the call, if it has not ended: nobody reads on."""
        if self._stream is not None:
            self._stream.close()

    def abort(self) -> None:
        """Have who reads a stream, in another thread, find it broken off."""
        if self._stream is not None:
            self._stream.abort()

    def read(self) -> bytes:
        """Return the whole body."""
        try:
            return b"".join(self)
        finally:
            self.close()


def proxy_of(actor: Actor, name: str) -> ResolvedProxy:
    """Return the model that an agent got for a proxy; raise `BadRequest` for one that it did not declare."""
    wired = (actor.agent.proxies or {}).get(name)
    if wired is None:
        raise BadRequest("Unknown proxy name")
    return ResolvedProxy.model_validate(wired)


def call(services: "Services", caller: Caller, name: str, request: ModelRequest, reach: Reach) -> ModelAnswer:
    """Call the model behind one of an agent's proxies, with what an agent would send there.

    Raises `BadRequest` as `requests.prepared` does, what `booking.begin` raises, and `NotAnswered`.
    """
    proxy = proxy_of(caller.actor, name)
    provider = services.llm_proxy.provider(proxy.configuration_name)
    if provider is None or provider.format.type != proxy.format:
        raise NotAnswered(f"the provider {proxy.configuration_name!r} is not configured any more")
    prepared = requests.prepared(request, proxy, provider)
    asked = ModelCall(services, caller, name, proxy, provider, services.llm_proxy.config(), prepared, reach)
    return _Forwarding(asked, booking.begin(asked)).run()


class _Forwarding:
    """A call that has begun."""

    def __init__(self, call: ModelCall, begun: booking.Booking) -> None:
        self._services = call.services
        self._actor = call.actor
        self._config = call.config
        self._provider = call.provider
        self._prepared = call.prepared
        self._reach = call.reach
        self._booking = begun
        self._about = {**call.actor.ids, "proxyNumber": call.services.model_calls.next(call.actor)}
        self._started_ms = call.services.clock.now_ms()
        longest_ms = LONGEST_CALL_MS if call.prepared.streams else call.provider.timeout
        self._until_ms = min(self._started_ms + longest_ms, call.reach.until_ms)

    def run(self) -> ModelAnswer:
        try:
            incoming = self._open()
        except CallFailed as error:
            self._booking.failed(was_sent=error.was_sent)
            raise self._refusal(error) from error
        except AddressRefused as error:
            self._booking.failed(was_sent=False)
            raise NotAnswered(f"the provider {self._provider.name!r} cannot be called: {error}") from error
        if encoding := _header(incoming, "content-encoding"):
            incoming.close()
            self._booking.failed(was_sent=True)
            raise NotAnswered(f"the provider encodes its answer ({encoding[:40]}), though it was asked not to")
        if self._prepared.streams and 200 <= incoming.status < 300:
            body = _Stream(incoming, self._prepared, self._reach.at_most(self._config.max_stream_size), self._booking)
            self._log(incoming.status)
            return ModelAnswer(HTTPStatus.OK, list(_EVENT_STREAM), stream=body)
        return self._buffered(incoming)

    def _buffered(self, incoming: Incoming) -> ModelAnswer:
        try:
            body = b"".join(incoming.pieces(self._reach.at_most(self._config.max_response_size)))
        except CallFailed as error:
            self._booking.failed(was_sent=True)
            raise self._refusal(error) from error
        finally:
            incoming.close()
        usage = {} if self._prepared.streams else formats.usage_of(body)
        self._booking.answered(booking.Outcome(incoming.status, usage))
        self._log(incoming.status)
        headers = [(name, value) for name, value in incoming.headers if name.lower() not in _NOT_ANSWERED]
        if self._prepared.streams:  # of a refused stream nothing else is handed on
            headers = [(name, value) for name, value in headers if name.lower() == "content-type"]
        return ModelAnswer(incoming.status, headers, body)

    def _open(self) -> Incoming:
        """Send it, and again after an error that may pass, as often as is configured."""
        retries = 0
        while True:
            failure: CallFailed | None = None
            incoming: Incoming | None = None
            try:
                incoming = self._send()
                if not (incoming.status == HTTPStatus.CONFLICT or incoming.status >= 500):
                    return incoming
            except TimedOut:
                raise
            except CallFailed as error:
                failure = error
            pause_ms = self._pause_ms(retries, incoming)
            if retries >= self._config.retry_max_attempts or self._services.clock.now_ms() + pause_ms >= self._until_ms:
                if incoming is None:
                    raise failure or CallFailed("no answer")
                return incoming
            if incoming is not None:
                incoming.close()
            retries += 1
            self._services.clock.sleep(pause_ms / 1000)

    def _send(self) -> Incoming:
        prepared = self._prepared
        key = self._provider.api_key.get_secret_value()
        headers = [*prepared.headers, *prepared.format.headers(key)]
        if self._config.send_session_headers:
            headers = [each for each in headers if each[0].lower() != "x-coral-sessionid"]
            headers.append(("X-Coral-SessionId", self._actor.session_id))
        left_ms = self._until_ms - self._services.clock.now_ms()
        if left_ms <= 0:
            raise TimedOut("the time for the call is over")
        return self._services.http.open(
            prepared.method,
            prepared.url,
            headers,
            prepared.body,
            timeout_s=left_ms / 1000,
            silence_s=self._provider.timeout / 1000,
        )

    def _pause_ms(self, retries: int, incoming: Incoming | None) -> int:
        """Return how long to wait before the next try: longer each time, and as long as the answer asks for."""
        config = self._config
        grown_ms = min(config.retry_base_delay * config.retry_delay_exponent**retries, config.retry_max_delay)
        pause_ms = int(grown_ms) + random.randrange(_JITTER_MS)  # noqa: S311, nothing depends on its secrecy
        return max(pause_ms, self._retry_after_ms(incoming))

    def _retry_after_ms(self, incoming: Incoming | None) -> int:
        text = _header(incoming, "retry-after") if incoming else None
        if text is None:
            return 0
        if text.isascii() and text.isdigit():
            return int(text[:9]) * 1000
        try:
            at_ms = int(email.utils.parsedate_to_datetime(text).timestamp() * 1000)
        except (ValueError, OverflowError):
            return 0
        return max(0, at_ms - self._services.clock.now_ms())

    def _refusal(self, error: CallFailed) -> NotAnswered:
        logger.warning("call of a model failed", extra={**self._about, "reason": str(error)})
        kind = NotAnsweredInTime if isinstance(error, TimedOut) else NotAnswered
        return kind(f"the provider {self._provider.name!r} gave no answer that can be handed on: {error}")

    def _log(self, status: int) -> None:
        took_ms = self._services.clock.now_ms() - self._started_ms
        about = {**self._about, "provider": self._provider.name, "status": status, "tookMs": took_ms}
        logger.info("model called", extra=about)


def _header(incoming: Incoming, name: str) -> str | None:
    found = next((value for key, value in incoming.headers if key.lower() == name), None)
    return None if name == "content-encoding" and (found or "").strip().lower() in ("", "identity") else found


class _Stream:
    """The lines of a provider's stream, as they come, each ended by ``\\n``; what it says of its usage is read."""

    def __init__(self, incoming: Incoming, prepared: Prepared, most_bytes: int, begun: booking.Booking) -> None:
        self._incoming = incoming
        self._format = prepared.format
        self._most_bytes = most_bytes
        self._booking = begun
        self._reader = prepared.format.reader()
        self._complete = False

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._lines()
            self._complete = True
        except TooLong:
            pass  # it just ends
        except TimedOut as error:
            yield self._last_words(HTTPStatus.GATEWAY_TIMEOUT, error)
        except CallFailed as error:
            yield self._last_words(HTTPStatus.BAD_GATEWAY, error)
        finally:
            self.close()

    def close(self) -> None:
        """End the call, once."""
        self._incoming.close()
        reader = self._reader
        outcome = booking.Outcome(self._incoming.status, reader.usage, self._complete, reader.text_bytes)
        self._booking.answered(outcome)

    def abort(self) -> None:
        self._incoming.abort()

    def _last_words(self, status: HTTPStatus, error: CallFailed) -> bytes:
        # An empty line first: it ends an event that was cut off.
        return b"\n" + self._format.event_of_error(status, f"the stream of the provider broke off: {error}")

    def _lines(self) -> Iterator[bytes]:
        """Yield all whole lines of a piece together; one that never ends is handed on in parts, unread."""
        held: list[bytes] = []
        held_bytes, is_read = 0, True
        for piece in self._incoming.pieces(self._most_bytes):
            first, *others = piece.split(b"\n")
            held.append(first)
            held_bytes += len(first)
            whole = []
            for next_line in others:
                line = b"".join(held).removesuffix(b"\r")
                if is_read:
                    self._reader.line(line)
                whole.append(line)
                held, held_bytes, is_read = [next_line], len(next_line), True
            if whole:
                yield b"\n".join([*whole, b""])
            if held_bytes > _LONGEST_LINE_BYTES:
                yield b"".join(held)
                held, held_bytes, is_read = [], 0, False
        if rest := b"".join(held):
            if is_read:
                self._reader.line(rest)
            yield rest + b"\n"
