"""The one mapping of errors to HTTP: Coral's body, and a status for each error of the domain."""

import functools
import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, cast

from botocore.exceptions import BotoCoreError, ClientError
from chalice.app import Chalice, Response
from pydantic import ValidationError

from chalicelib.api.paging import CURSOR_HEADER
from chalicelib.aws.errors import is_transient
from chalicelib.domain import errors
from chalicelib.store.items import Unprocessed
from chalicelib.wire.base import RouteException
from chalicelib.wire.faults import rule_of

#: Names the limit that a 429 is about.
LIMIT_HEADER = "Limit-Name"
#: Says what of a request that was honoured has no effect.
WARNING_HEADER = "Atoll-Warning"

logger = logging.getLogger(__name__)

Handler = Callable[..., Any]


class WrongContentType(errors.AtollError):
    """The body is not of a type that the operation takes (HTTP 415)."""


_STATUS: dict[type[errors.AtollError], HTTPStatus] = {
    errors.BadRequest: HTTPStatus.BAD_REQUEST,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.BudgetReached: HTTPStatus.PAYMENT_REQUIRED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.NotConfigured: HTTPStatus.NOT_IMPLEMENTED,
    errors.BadGateway: HTTPStatus.BAD_GATEWAY,
    errors.TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    errors.TryLater: HTTPStatus.SERVICE_UNAVAILABLE,
    WrongContentType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}


def status_of(error: type[errors.AtollError]) -> HTTPStatus:
    """Return the status of an error."""
    return _STATUS[error]


def refusal(status: HTTPStatus | int, message: str, headers: Mapping[str, str | list[str]] | None = None) -> Response:
    """Answer with Coral's error body."""
    return Response(
        body=RouteException(message=message).to_wire(), status_code=int(status), headers={**(headers or {})}
    )


def mapping_errors(view: Handler) -> Handler:
    """Answer with a refusal for what a view raises: domain errors, bodies that break a rule, AWS that is busy.

    Anything else is raised on: Chalice answers 500 and logs it.
    """

    @functools.wraps(view)
    def wrapped(**arguments: str) -> Response:
        try:
            return cast(Response, view(**arguments))
        except errors.AtollError as error:
            return _refusal_of(error)
        except ValidationError as error:
            return refusal(HTTPStatus.BAD_REQUEST, describe(error))
        except (ClientError, BotoCoreError, Unprocessed) as error:
            if not is_transient(error):
                raise
            logger.warning("AWS is busy", extra={"error": type(error).__name__})
            return _refusal_of(errors.TryLater("Atoll is busy: try again shortly"))

    # Chalice calls a view with the names in its path, so the wrapper must not look like the view.
    del wrapped.__wrapped__
    return wrapped


def _refusal_of(error: errors.AtollError) -> Response:
    headers: dict[str, str | list[str]] = {}
    if isinstance(error, errors.TryLater):
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, errors.TooManyRequests):
        headers[LIMIT_HEADER] = error.limit
    if isinstance(error, errors.TooLarge) and error.next_cursor is not None:
        headers[CURSOR_HEADER] = error.next_cursor
    return refusal(status_of(type(error)), str(error), headers)


def describe(error: ValidationError) -> str:
    """Name each wrong field of a body, its rule, and not its value (it may be a secret)."""
    return "; ".join(f"{'.'.join(map(str, fault['loc'])) or 'body'}: {rule_of(fault)}" for fault in error.errors()[:5])


def add_error_shape(app: Chalice) -> None:
    """Give Coral's error body to what Chalice itself refuses (an unknown method)."""

    @app.middleware("http")
    def _shape(event: Any, get_response: Callable[[Any], Response]) -> Response:
        response = get_response(event)
        if response.status_code >= 400 and isinstance(response.body, dict) and "Message" in response.body:
            return refusal(response.status_code, response.body["Message"], response.headers)
        return response
