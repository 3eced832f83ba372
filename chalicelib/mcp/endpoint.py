"""The agents' MCP endpoint: one plain HTTP request in, one plain answer out (Streamable HTTP with short streams).

It knows neither the web framework nor the event that carried the request: its caller fills in a `Request`.
"""

import dataclasses
import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from mcp_types import INVALID_REQUEST

from chalicelib import telemetry
from chalicelib.aws.errors import is_transient
from chalicelib.domain import actors, errors, waits
from chalicelib.domain.agent_secrets import AgentIdentity
from chalicelib.mcp import busy, envelope, methods, protocol, rates, resumption, tools
from chalicelib.mcp.methods import SessionOver
from chalicelib.mcp.protocol import Message, ProtocolError
from chalicelib.wire.base import RouteException

if TYPE_CHECKING:
    from chalicelib.stores import Stores

logger = logging.getLogger(__name__)

#: Largest body of a request: a message of the greatest length, every character of it escaped.
MAX_BODY_BYTES = 2_000_000
#: Most messages in one batch.
MAX_BATCH = 50

_JSON = "application/json"


@dataclasses.dataclass(frozen=True)
class Request:
    """An HTTP request to ``/mcp/v1/<secret>/mcp``; header names in lower case."""

    method: str
    secret: str
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""


@dataclasses.dataclass(frozen=True)
class Response:
    """The answer to it."""

    status: int
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""


def handle(stores: "Stores", request: Request) -> Response:
    """Serve one request of an agent. Nothing that a client sent makes it raise.

    A secret that was not made here is a 401; one that was, of a session that is over, is a 404. A temporary failure of
    AWS is answered as `busy` says, and so is an agent that calls too often (`rates`); in a batch only the message that
    failed has an error.
    """
    try:
        return _handle(stores, request)
    except errors.Unauthorized as error:
        return _refusal(HTTPStatus.UNAUTHORIZED, str(error))
    except SessionOver:
        return _over(request)
    except Exception as error:
        if not is_transient(error):
            raise
        logger.warning("AWS is busy: %s", type(error).__name__)
        return _busy(request)


def _handle(stores: "Stores", request: Request) -> Response:
    if not rates.take(stores, actors.proved(stores, request.secret)):
        return _busy(request, rates.text(stores), HTTPStatus.TOO_MANY_REQUESTS)
    actor = actors.once_proved(stores, request.secret, tools.read_beside(request.body))
    if actor is None:
        raise SessionOver
    over = not actors.may_act(actor, request.secret)
    if over and actor.session.status != "closing":
        raise SessionOver
    if request.method == "DELETE":  # there is no session of the transport that could end
        return Response(200)
    with telemetry.about(namespace=actor.session.namespace, session=actor.session_id, agent=actor.name):
        if _comes_back(request):
            return _over(request) if over else _resumed(stores, actor, request)
        return _refused(request) or _answered(_Exchange(stores, actor, request.headers, closing=over), request)


def _answered(exchange: "_Exchange", request: Request) -> Response:
    try:
        status, answer = exchange.run(request.body)
    except waits.Paused as paused:
        return _events(resumption.later(exchange.request_id, paused))
    return _response(request, status, answer)


def _response(request: Request, status: HTTPStatus, answer: Any) -> Response:
    """Return an answer in the type that its client accepts; an empty one for ``None``."""
    if answer is None:
        return Response(status)
    if status == HTTPStatus.OK and _accepted(request.headers.get("accept")) == resumption.EVENTS:
        return _events(resumption.message(answer))
    return Response(status, {"Content-Type": _JSON}, protocol.encoded(answer))


def _busy(request: Request, text: str = busy.TEXT, status: HTTPStatus = HTTPStatus.SERVICE_UNAVAILABLE) -> Response:
    """Return the answer to a request that cannot be served now: ``status`` where the answer may have one."""
    later = {"Retry-After": str(busy.RETRY_AFTER_S)}
    if _comes_back(request):
        try:
            return _events(resumption.again(request.headers[resumption.LAST_EVENT_ID], busy.RETRY_AFTER_S * 1000))
        except ValueError as error:
            return _refusal(HTTPStatus.BAD_REQUEST, str(error))
    if request.method != "POST":
        return _refusal(status, text, later)
    if refused := _refused(request):
        return refused
    answer = busy.answer_to_body(request.body, request.headers, at_most=MAX_BATCH, text=text, status=status)
    response = _response(request, *answer)
    if response.status != status:
        return response
    return dataclasses.replace(response, headers={**response.headers, **later})


def _comes_back(request: Request) -> bool:
    """Return whether a client can resume a wait that was paused."""
    return request.method == "GET" and resumption.LAST_EVENT_ID in request.headers


def _resumed(stores: "Stores", actor: actors.Actor, request: Request) -> Response:
    try:
        return _events(resumption.answer(stores, actor, request.headers[resumption.LAST_EVENT_ID]))
    except ValueError as error:
        return _refusal(HTTPStatus.BAD_REQUEST, str(error))


def _over(request: Request) -> Response:
    """Return the answer to an agent whose session is over, or which was stopped.

    A wait that its client comes back for ends. Anything else is a 404, which clients take for the end of their session;
    with an error in the body, since without one some take it for an unknown method.
    """
    try:
        if _comes_back(request):
            return _events(resumption.over(request.headers[resumption.LAST_EVENT_ID]))
        request_id = protocol.id_of(protocol.parse(request.body)) if request.method == "POST" else None
    except (ValueError, ProtocolError):
        request_id = None
    answer = ProtocolError(INVALID_REQUEST, "Session terminated: it is over, or this agent was stopped")
    return Response(HTTPStatus.NOT_FOUND, {"Content-Type": _JSON}, protocol.encoded(answer.answer(request_id)))


def _events(stream: bytes) -> Response:
    headers = {"Content-Type": resumption.EVENTS, "Cache-Control": "no-cache, no-transform"}
    return Response(HTTPStatus.OK, headers, stream)


def _refused(request: Request) -> Response | None:
    """Return the refusal of a request whose HTTP is not right for MCP."""
    if request.method != "POST":
        return _refusal(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "this is an endpoint of Streamable HTTP, which takes POST: there is no stream to GET, and no SSE transport",
            {"Allow": "POST, DELETE"},
        )
    if _accepted(request.headers.get("accept")) is None:
        return _refusal(HTTPStatus.NOT_ACCEPTABLE, f"the client must accept {_JSON} or {resumption.EVENTS}")
    if request.headers.get("content-type", _JSON).partition(";")[0].strip().lower() != _JSON:
        return _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the content type must be {_JSON}")
    size = len(request.body)
    if size > MAX_BODY_BYTES:
        return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {MAX_BODY_BYTES} bytes are taken, not {size}")
    return None


class _Exchange:
    """What one POST holds: a message, or a batch of them."""

    def __init__(self, stores: "Stores", actor: actors.Actor, headers: Mapping[str, str], *, closing: bool) -> None:
        self._stores = stores
        self._actor = actor
        self._agent = AgentIdentity(actor.session.namespace, actor.session_id, actor.name)
        self._headers = headers
        self._in_batch = False
        #: Of a single request.
        self.request_id: protocol.Id = None
        deadline_ms = stores.clock.now_ms() + stores.settings.mcp_wait_limit_ms
        self._call = methods.Call(stores, actor, headers, deadline_ms, closing=closing)

    def run(self, body: bytes) -> tuple[HTTPStatus, Any]:
        """Return the status and what is answered, ``None`` for a body that is left empty."""
        try:
            message = protocol.parse(body)
            if isinstance(message, list):
                return self._batch(message)
            if envelope.speaks_stateless(message, self._headers):
                self._call.era = "stateless"
            else:
                self._check_version()
                self.request_id = protocol.id_of(message)
                self._call.hold_ms = resumption.hold_ms(self._stores, self._actor, self._headers, self.request_id)
        except ProtocolError as error:
            answer = error.answer(None)
            return protocol.status_of(answer, "stateless"), answer
        answered = self._one(message)
        if answered is None:
            return HTTPStatus.ACCEPTED, None
        return protocol.status_of(answered, self._call.era), answered

    def _batch(self, messages: list[Any]) -> tuple[HTTPStatus, Any]:
        if self._headers.get(envelope.VERSION_HEADER, protocol.UNNAMED_VERSION) != protocol.UNNAMED_VERSION:
            raise ProtocolError(INVALID_REQUEST, f"only the version {protocol.UNNAMED_VERSION} has batches")
        if not 0 < len(messages) <= MAX_BATCH:
            raise ProtocolError(INVALID_REQUEST, f"a batch holds 1 to {MAX_BATCH} messages, not {len(messages)}")
        if any(isinstance(message, dict) and message.get("method") == "initialize" for message in messages):
            raise ProtocolError(INVALID_REQUEST, "initialize must not be part of a batch")
        if not rates.take(self._stores, self._agent, len(messages) - 1):  # the first was counted before it was read
            answers = [busy.answer_to(message, rates.text(self._stores)) for message in messages]
            return HTTPStatus.OK, [answer for answer in answers if answer is not None]
        self._in_batch = True  # its answer says what was done, so a message that fails is answered in its place
        answers = [answer for message in messages if (answer := self._one(message)) is not None]
        return (HTTPStatus.OK, answers) if answers else (HTTPStatus.ACCEPTED, None)

    def _one(self, message: Any) -> Message | None:
        """Serve one message; ``None`` when it expects no answer."""
        stateless = self._call.era == "stateless"
        request_id = protocol.id_of(message)
        try:
            if protocol.is_answer(message) and not stateless:
                return None
            method = protocol.method_of(message)
            if protocol.is_notification(message):
                if stateless:
                    envelope.check_version(self._headers.get(envelope.VERSION_HEADER, ""))
                self._call.take(method, message.get("params", {}))
                return None
            if stateless:
                envelope.check(message, self._headers)
            self._call.request_id = request_id
            result = self._call.serve(method, message.get("params", {}))
            return protocol.answer_of(request_id, result, self._call.era)
        except ProtocolError as error:
            return error.answer(request_id)
        except (waits.Paused, SessionOver):
            raise
        except Exception as error:
            if is_transient(error):
                if not self._in_batch:
                    raise
                return busy.answer_to(message)
            # The outermost edge: the error is logged, without the agent's content.
            logger.exception("an MCP request failed")
            return protocol.internal_error(request_id)

    def _check_version(self) -> None:
        version = self._headers.get(envelope.VERSION_HEADER, protocol.UNNAMED_VERSION)
        if version not in protocol.HANDSHAKE_VERSIONS:
            supported = ", ".join((*protocol.HANDSHAKE_VERSIONS, *protocol.STATELESS_VERSIONS))
            raise ProtocolError(INVALID_REQUEST, f"Unsupported protocol version {version[:64]!r}: this is {supported}")


def _accepted(header: str | None) -> str | None:
    """Return the content type of the answer, JSON where the client accepts it; ``None`` when it accepts neither."""
    if header is None or not header.strip():
        return _JSON
    taken = {kind for kind, quality in map(_media_range, header.split(",")) if quality > 0}
    if taken & {_JSON, "application/*", "*/*"}:
        return _JSON
    return resumption.EVENTS if taken & {resumption.EVENTS, "text/*"} else None


def _media_range(text: str) -> tuple[str, float]:
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return kind, float(parameter[2:])
            except ValueError:
                return kind, 0.0
    return kind, 1.0


def _refusal(status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> Response:
    body = json.dumps(RouteException(message=message).to_wire()).encode()
    return Response(status, {"Content-Type": _JSON, **(headers or {})}, body)
