"""The route of the LLM proxy, ``/llm-proxy/{secret}/{NAME}/{path…}``: its checks in their order, and its answers (C.3).

It knows neither the web framework nor the event that carried a request. A request is taken in two steps: `admit` looks
at all but the body, so that no body of a stranger is read, and what it returns takes the body.
"""

import dataclasses
import json
import logging
import re
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeVar

from chalicelib import telemetry
from chalicelib.aws.errors import is_transient
from chalicelib.domain import actors, errors
from chalicelib.models import forwarding
from chalicelib.models.calls import Caller, Reach
from chalicelib.models.formats import FORMATS
from chalicelib.models.forwarding import ModelAnswer, NotAnswered
from chalicelib.models.prices import NotPriced
from chalicelib.models.requests import ModelRequest

if TYPE_CHECKING:
    from chalicelib.services import Services

logger = logging.getLogger(__name__)

Served = TypeVar("Served")

PREFIX = "/llm-proxy/"

_PATH = re.compile(r"/llm-proxy/([^/]+)/([^/]+)(?:/(.*))?", re.DOTALL)
_JSON = re.compile(r"application/(?:json|[!#$&^_.a-z0-9-]+\+json)", re.IGNORECASE)

#: What each error of the domain is answered with; the first that fits.
_STATUSES: Sequence[tuple[type[errors.AtollError], HTTPStatus]] = (
    (errors.Unauthorized, HTTPStatus.UNAUTHORIZED),
    (errors.NotFound, HTTPStatus.NOT_FOUND),
    (errors.TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (errors.TooManyRequests, HTTPStatus.TOO_MANY_REQUESTS),
    (errors.TryLater, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.BadRequest, HTTPStatus.BAD_REQUEST),
)


@dataclasses.dataclass(frozen=True)
class Head:
    """A request without its body; path and query are encoded as they came."""

    method: str
    path: str
    query: str = ""
    headers: Sequence[tuple[str, str]] = ()


@dataclasses.dataclass(frozen=True)
class Admitted:
    """A request whose body is to be read."""

    services: "Services"
    caller: Caller
    proxy_name: str
    request: ModelRequest

    @property
    def most_body_bytes(self) -> int:
        """How large its body may be."""
        return self.services.llm_proxy.config().max_request_size

    def answer(self, body: bytes, reach: Reach) -> ModelAnswer:
        """Answer it; ``body`` may be cut off once it is too large. Nothing that a client sent makes it raise."""
        with telemetry.about(**self.caller.actor.ids):
            return _refusing(lambda: self._answer(body, reach))

    def _answer(self, body: bytes, reach: Reach) -> ModelAnswer:
        if len(body) > self.most_body_bytes:
            raise errors.TooLarge(f"at most {self.most_body_bytes} bytes are taken")
        request = dataclasses.replace(self.request, body=body)
        try:
            return forwarding.call(self.services, self.caller, self.proxy_name, request, reach)
        except (errors.BudgetReached, NotPriced) as error:
            return self._not_paid(error)

    def _not_paid(self, error: errors.AtollError) -> ModelAnswer:
        """Return the answer to a call that the budget does not pay for, in the form that its client shows."""
        status = HTTPStatus.PAYMENT_REQUIRED
        spoken = FORMATS[forwarding.proxy_of(self.caller.actor, self.proxy_name).format]
        body = {"message": str(error), **spoken.error(status, str(error))}
        if isinstance(error, errors.BudgetReached):
            body |= {"availableMicroUsd": error.available_micro_usd, "neededMicroUsd": error.needed_micro_usd}
        return ModelAnswer(status, [("Content-Type", "application/json")], json.dumps(body).encode())


def admit(services: "Services", head: Head) -> Admitted | ModelAnswer:
    """Check all of a request but its body, in Coral's order; return what takes the body, or the refusal."""
    return _refusing(lambda: _admitted(services, head))


def _refusing(serve: Callable[[], Served]) -> Served | ModelAnswer:
    """Return what is served, or the answer that an error of the domain or a failure of AWS that passes stands for."""
    try:
        return serve()
    except errors.AtollError as error:
        return refusal(error)
    except Exception as error:
        if not is_transient(error):
            raise
        logger.warning("AWS is busy: %s", type(error).__name__)
        return _busy()


def _admitted(services: "Services", head: Head) -> Admitted | ModelAnswer:
    matched = _PATH.fullmatch(head.path)
    if matched is None:
        return message(HTTPStatus.NOT_FOUND, "Not found: a model is at /llm-proxy/<secret>/<NAME>/<path>")
    secret, name, path = matched.groups()
    caller = _caller(services, secret)
    if head.method not in ("GET", "POST"):
        allow = [("Allow", "GET, POST")]
        return message(HTTPStatus.METHOD_NOT_ALLOWED, f"Unsupported proxy method {head.method[:20]}", allow)
    if head.method == "POST" and not _is_json(head.headers):
        return message(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "a POST must have JSON: application/json or application/*+json"
        )
    forwarding.proxy_of(caller.actor, name)
    request = ModelRequest(head.method, path or "", head.query, head.headers)
    admitted = Admitted(services, caller, name, request)
    if _length_of(head.headers) > admitted.most_body_bytes:
        raise errors.TooLarge(f"at most {admitted.most_body_bytes} bytes are taken, not {_length_of(head.headers)}")
    return admitted


def _caller(services: "Services", secret: str) -> Caller:
    try:
        found = actors.with_budget(services, secret)
    except errors.Unauthorized:
        found = None
    if found is None or not actors.may_act(found[0], secret):
        raise errors.Unauthorized("Invalid agent secret")
    return Caller(*found)


def _is_json(headers: Sequence[tuple[str, str]]) -> bool:
    kinds = [value.partition(";")[0].strip() for name, value in headers if name.lower() == "content-type"]
    return len(kinds) == 1 and _JSON.fullmatch(kinds[0]) is not None


def _length_of(headers: Sequence[tuple[str, str]]) -> int:
    text = next((value for name, value in headers if name.lower() == "content-length"), "0").strip()
    return int(text[:19]) if text.isascii() and text.isdigit() else 0


def refusal(error: errors.AtollError) -> ModelAnswer:
    """Return the answer that an error of the domain is."""
    if isinstance(error, NotAnswered):
        return message(error.status, str(error))
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), HTTPStatus.BAD_REQUEST)
    later = [("Retry-After", str(error.retry_after_s))] if isinstance(error, errors.TryLater) else []
    return message(status, str(error), later)


def _busy() -> ModelAnswer:
    return message(HTTPStatus.SERVICE_UNAVAILABLE, "Atoll is busy: try again", [("Retry-After", "1")])


def message(status: int, text: str, headers: Sequence[tuple[str, str]] = ()) -> ModelAnswer:
    """Return an answer of Atoll's own."""
    return ModelAnswer(status, [("Content-Type", "application/json"), *headers], json.dumps({"message": text}).encode())
