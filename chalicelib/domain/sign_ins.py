"""Sign-ins: what the cookie of a browser carries instead of an API key, with the reach of that key.

A browser keeps its cookies on disk. One that leaks is worth what is left of `LIFETIME_S`, and signing out ends it.
"""

import secrets
from typing import TYPE_CHECKING

from chalicelib.domain import api_keys, quotas
from chalicelib.domain.errors import Unauthorized
from chalicelib.store.api_keys import ApiKeyRecord
from chalicelib.store.sign_ins import SignInRecord

if TYPE_CHECKING:
    from chalicelib.stores import Stores

#: How long a sign-in lasts, in s.
LIFETIME_S = 12 * 3600


def begin(stores: "Stores", key: str) -> str:
    """Sign in with an API key and return the sign-in's id, of which only the hash is stored.

    Raises `Unauthorized` for a key that is not valid, `TooManyRequests` for one that asks too often.
    """
    record = api_keys.authenticate(stores, key, for_change=True)
    quotas.count_request(stores, quotas.of_key(record))
    sign_in = secrets.token_urlsafe(32)
    now_ms = stores.clock.now_ms()
    stores.sign_ins.save(
        SignInRecord(
            sign_in_hash=api_keys.hash_of(sign_in),
            api_key_hash=record.key_hash,
            created_at_ms=now_ms,
            expires_at=now_ms // 1000 + LIFETIME_S,
        )
    )
    return sign_in


def authenticate(stores: "Stores", sign_in: str) -> ApiKeyRecord:
    """Return the record of the API key that signed in; raise `Unauthorized` when sign-in or key has ended.

    Both are read each time: signing out and revoking the key end it at once, in every process.
    """
    sign_in_hash = api_keys.hash_of(sign_in)
    key = None
    if not api_keys.is_known_as_wrong(stores, sign_in_hash):
        found = stores.sign_ins.find(sign_in_hash)
        key = api_keys.read(stores, found.api_key_hash) if found else None
    if key is None:
        api_keys.remember_as_wrong(stores, sign_in_hash)
        raise Unauthorized("the sign-in has ended: sign in again")
    return key


def end(stores: "Stores", sign_in: str) -> None:
    """End a sign-in; one that has ended, or never was, is left alone."""
    stores.sign_ins.remove(api_keys.hash_of(sign_in))
