"""Atoll's Python client: ``from atoll import Client``, or `AsyncClient` with the same methods.

    from atoll import Client

    with Client() as atoll:  # ATOLL_URL and ATOLL_API_KEY, or the stack of `atoll up` on this machine
        made = atoll.create_session({"agentGraphRequest": ..., "namespaceProvider": ...})
        for page in atoll.follow(made.namespace, made.session_id):
            print(page.entries)

What is sent and received are the models of `atoll.models`; times are in epoch milliseconds.
"""

import importlib
from typing import TYPE_CHECKING

from atoll.version import VERSION as __version__

if TYPE_CHECKING:
    from atoll.async_client import AsyncClient
    from atoll.calls import Page
    from atoll.client import Client
    from atoll.errors import (
        AtollError,
        AtollWarning,
        Conflict,
        Forbidden,
        NotFound,
        NotVerified,
        Refused,
        TooManyRequests,
        Unauthorized,
        Unavailable,
        Unreachable,
    )
    from atoll.webhooks import verify_by_key, verify_by_secret

__all__ = [
    "AsyncClient",
    "AtollError",
    "AtollWarning",
    "Client",
    "Conflict",
    "Forbidden",
    "NotFound",
    "NotVerified",
    "Page",
    "Refused",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "Unreachable",
    "__version__",
    "verify_by_key",
    "verify_by_secret",
]

#: Where each name is, but for the errors: models and HTTP take 0.2 s to import, which `atoll --help` does without.
_PLACES = {
    "AsyncClient": "async_client",
    "Client": "client",
    "Page": "calls",
    "verify_by_key": "webhooks",
    "verify_by_secret": "webhooks",
}


def __getattr__(name: str) -> object:
    if name in __all__:
        return getattr(importlib.import_module(f"atoll.{_PLACES.get(name, 'errors')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
