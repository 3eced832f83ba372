"""The AWS calls that requests make on the local stack: recorded, and one of them made to fail."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from botocore.client import BaseClient
from botocore.exceptions import EndpointConnectionError
from chalice.local import LocalGateway

_here = threading.local()


@contextmanager
def calls_to_aws(fail_at: int | None = None, *, after: bool = False) -> Iterator[list[str]]:
    """Record the operations that requests ask of AWS; the one at ``fail_at`` fails, or loses its answer ``after``."""
    made: list[str] = []
    call = BaseClient._make_api_call  # type: ignore[attr-defined]  # private: every call goes through it
    handle = LocalGateway.handle_request

    def recorded(self: BaseClient, operation: str, parameters: Any) -> Any:
        if not getattr(_here, "is_request", False):
            return call(self, operation, parameters)
        made.append(operation)
        if len(made) - 1 == fail_at:
            if after:
                call(self, operation, parameters)
            raise EndpointConnectionError(endpoint_url="https://dynamodb")
        return call(self, operation, parameters)

    def handling(self: LocalGateway, *arguments: Any, **named: Any) -> Any:
        _here.is_request = True
        try:
            return handle(self, *arguments, **named)
        finally:
            _here.is_request = False

    with patch.object(BaseClient, "_make_api_call", recorded), patch.object(LocalGateway, "handle_request", handling):
        yield made
