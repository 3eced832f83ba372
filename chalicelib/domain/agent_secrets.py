"""The secret of one agent in one session: it names both and carries an HMAC.

A secret is derived from the deployment's ``agent-key``, so that a repeated launch gives the agent the same one.
Only its SHA-256 is stored (``AgentRecord.secret_hash``); closing a session or stopping an agent deletes it. Whether a
secret was ever made here is told by the key alone (`is_minted`): a forged one is refused before anything is read.
"""

import hashlib
import hmac
import json
import re
from typing import NamedTuple

from chalicelib.wire import base64url

#: No secret that `mint` makes is longer: a namespace, an id and an agent's name are bounded.
MAX_SECRET_CHARS = 2048

#: A secret in a text, whoever's: an array of texts begins with ``Wy`` in base64, and the proof is a SHA-256.
IN_TEXT = re.compile(r"Wy[I-L][A-Za-z0-9_-]+\.[0-9a-f]{64}")


class AgentIdentity(NamedTuple):
    """The namespace, session and agent that a secret names."""

    namespace: str
    session_id: str
    agent: str


def mint(key: str, namespace: str, session_id: str, agent: str) -> str:
    """Derive an agent's secret: base64url of its identity, a dot, and the HMAC-SHA256 of it. Safe in a URL's path."""
    identity = json.dumps([namespace, session_id, agent], separators=(",", ":")).encode()
    proof = hmac.new(key.encode(), "\0".join((namespace, session_id, agent)).encode(), hashlib.sha256).hexdigest()
    return f"{base64url.encoded(identity)}.{proof}"


def parse(secret: str) -> AgentIdentity | None:
    """Read the agent that a secret names, unverified; ``None`` for text of another form. `matches` verifies it."""
    identity, dot, proof = secret.partition(".")
    if not dot or not proof or len(secret) > MAX_SECRET_CHARS:
        return None
    try:
        parts = json.loads(base64url.decoded(identity))
        json.dumps(parts, ensure_ascii=False).encode()  # a lone surrogate is in no name, and no key can be made of it
    except (ValueError, RecursionError):
        return None
    if not (isinstance(parts, list) and len(parts) == 3 and all(isinstance(part, str) and part for part in parts)):
        return None
    return AgentIdentity(*parts)


def is_minted(secret: str, key: str) -> bool:
    """Return whether a secret was derived from a key, in constant time for each identity; nothing is read for that."""
    identity = parse(secret)
    if identity is None:
        return False
    return hmac.compare_digest(mint(key, *identity).encode(), secret.encode("utf-8", "replace"))


def hash_of(secret: str) -> str:
    """Return what is stored of a secret: the hex SHA-256."""
    return hashlib.sha256(secret.encode()).hexdigest()


def matches(secret: str, stored_hash: str | None) -> bool:
    """Return in constant time whether a secret is the one whose hash is stored; ``False`` when no hash is stored."""
    return hmac.compare_digest(hash_of(secret), stored_hash or "")
