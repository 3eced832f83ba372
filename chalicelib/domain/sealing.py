"""Encrypts option values at rest, and opens them again: AES-256-GCM, by a key of one agent in one session.

That key is derived (HKDF-SHA256) from a key of the deployment, so nothing but that is stored or read, and a value that
is moved to another agent or session does not open. A sealed value names the key it was made with: after a rotation
those of the keys before are still opened.

No error of this module carries a value or a key.
"""

import hashlib
import json
import os
from collections.abc import Iterable

#: What a sealed value begins with: the version of its form.
_VERSION = b"\x01"
_KEY_ID_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEAD_BYTES = len(_VERSION) + _KEY_ID_BYTES

#: How many bytes more than its text a sealed value has.
MORE_BYTES = _HEAD_BYTES + _NONCE_BYTES + _TAG_BYTES


class Unreadable(Exception):
    """A sealed value cannot be opened: by no key that is known, or because it is not what was sealed here."""


def seal(key: str, text: str, *, session_id: str, agent: str) -> bytes:
    """Encrypt the option values of an agent by a key of the deployment."""
    # Not at the top: most processes, and most sessions, have no secret option.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    head, nonce = _VERSION + _id_of(key), os.urandom(_NONCE_BYTES)
    return head + nonce + AESGCM(_derived(key, session_id, agent)).encrypt(nonce, text.encode(), head)


def opened(keys: Iterable[str], sealed: bytes, *, session_id: str, agent: str) -> str:
    """Return what `seal` encrypted, by the one of these keys that it names; keys behind that one are not asked for.

    Raises `Unreadable` when none of them is it, and for anything but what was sealed for this session and agent.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    whose = f"the option values of the agent {agent!r} of the session {session_id!r}"
    if len(sealed) < MORE_BYTES or not sealed.startswith(_VERSION):
        raise Unreadable(f"{whose} are of an unknown form")
    head, nonce, content = sealed[:_HEAD_BYTES], sealed[_HEAD_BYTES:][:_NONCE_BYTES], sealed[MORE_BYTES - _TAG_BYTES :]
    key_id = head[len(_VERSION) :]
    key = next((key for key in keys if _id_of(key) == key_id), None)
    if key is None:
        raise Unreadable(f"the key {key_id.hex()} of {whose} is not among those of this deployment")
    try:
        return AESGCM(_derived(key, session_id, agent)).decrypt(nonce, content, head).decode()
    except InvalidTag as error:
        raise Unreadable(f"{whose} were changed, or do not belong to them") from error


def _id_of(key: str) -> bytes:
    return hashlib.sha256(b"atoll option key id\0" + key.encode()).digest()[:_KEY_ID_BYTES]


def _derived(key: str, session_id: str, agent: str) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    place = json.dumps(["atoll options", session_id, agent], separators=(",", ":")).encode()
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=place).derive(key.encode())
