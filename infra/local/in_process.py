"""Calls of AWS clients that are answered in this process, at botocore's public event ``before-call``.

An engine takes the request that would be sent, and returns the parsed answer. A client that goes
elsewhere (by ``endpoint_url`` or ``AWS_ENDPOINT_URL_…``) is left alone.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from botocore import xform_name
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.hooks import BaseEventHooks

Request = dict[str, Any]

#: The operations of an engine: each takes a request and returns an answer, with the keys of the API reference; ``None``
#: leaves the request to moto.
Operations = Mapping[str, Callable[[Request], dict[str, Any] | None]]


class ServiceError(Exception):
    """The refusal of a service, with the code of its API reference."""

    def __init__(self, code: str, message: str, status: int = 400, *, details: Mapping[str, Any] | None = None) -> None:
        """
        Parameters
        ----------
        details
            Members of the error besides its message.
        """
        super().__init__(f"{code}: {message}")
        self.code = code
        self.details = dict(details or {})
        self.message = message
        self.status = status


def is_aws(url: str) -> bool:
    """Return whether a client's address is AWS's own, which is played in this process."""
    return (urlsplit(url).hostname or "").endswith(".amazonaws.com")


def operations(engine: object, *names: str) -> Operations:
    """Return operations of an engine, which has a method for each: ``run_task`` for ``RunTask``."""
    # Looked up at each call: a test may put another in its place.
    return {name: lambda request, name=name: getattr(engine, xform_name(name))(request) for name in names}  # type: ignore[misc]


class InProcess:
    """The engines of one stack, by the names that botocore's events have for their services."""

    def __init__(self, engines: Mapping[str, Operations]) -> None:
        self._engines = engines

    def follow(self, events: BaseEventHooks) -> None:
        """Answer the calls of a client, or of all clients that a session makes from here on, by their events."""
        for event in self._events():
            events.register(event, self._answer)

    def leave(self, events: BaseEventHooks) -> None:
        """Answer them no more."""
        for event in self._events():
            events.unregister(event, self._answer)

    def _events(self) -> list[str]:
        return [f"before-call.{service}.{name}" for service, engine in self._engines.items() for name in engine]

    def _answer(self, model: Any, params: Request, **_: Any) -> Any:
        if not is_aws(params["url"]):
            return None
        service = model.service_model.service_id.hyphenize()
        try:
            answer = self._engines[service][model.name](json.loads(params["body"]))
        except ServiceError as error:
            refused = {"Error": {"Code": error.code, "Message": error.message}, **error.details}
            return _response(params["url"], error.status, refused)
        return None if answer is None else _response(params["url"], 200, answer)


def _response(url: str, status: int, parsed: dict[str, Any]) -> tuple[AWSResponse, dict[str, Any]]:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": {}, "RetryAttempts": 0}
    return AWSResponse(url, status, HTTPHeaders(), None), {**parsed, "ResponseMetadata": metadata}
