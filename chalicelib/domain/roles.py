"""Roles of API keys: which may do what. What each route needs is in `api.roles`, following needs `READERS`.

An agent has no role: its secret is another credential, with the reach of that agent.
"""

from chalicelib.domain.errors import Forbidden
from chalicelib.store.api_keys import ApiKeyRecord, Role

Roles = frozenset[Role]

EVERY: Roles = frozenset({"admin", "operator", "viewer", "agents"})
#: Who may look at sessions, and at what is left of them.
READERS: Roles = frozenset({"admin", "operator", "viewer"})
#: Who may create, run, speak in and end sessions.
OPERATORS: Roles = frozenset({"admin", "operator"})
#: Who may change the registry, provided that the key reaches every namespace: all share it.
REGISTRARS: Roles = frozenset({"admin", "agents"})
ADMINS: Roles = frozenset({"admin"})


def check(key: ApiKeyRecord, allowed: Roles, what: str) -> None:
    """Raise `Forbidden` when the role of a key is not among those that may do something."""
    if key.role not in allowed:
        needed = " or ".join(sorted(allowed))
        raise Forbidden(f"this API key has the role {key.role!r}: {what} needs {needed}")
