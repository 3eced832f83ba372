"""Rotates the key that encrypts secret option values: ``atoll secrets rotate-option-key --stage prod``.

Sessions that were made before keep theirs readable: the keys before the current one are kept, and each value names its
own. Functions encrypt by the new key within an hour.
"""

import json
import secrets
from typing import Any

#: Keys that are kept: a secret holds 64 KB (Secrets Manager quotas), and no session lasts for so many rotations.
MOST_EARLIER = 200


class Keys:
    """The option keys of one stage, as Secrets Manager has them."""

    def __init__(self, client: Any, stage: str) -> None:
        self._client = client
        self._id = f"atoll-{stage}/option-key"

    def rotate(self, *, forget_earlier: bool = False) -> None:
        """Make a new current key; the ones before still open what they encrypted, unless they are to be forgotten."""
        wanted: dict[str, Any] = {"current": secrets.token_hex(32)}
        if not forget_earlier:
            known = json.loads(self._client.get_secret_value(SecretId=self._id)["SecretString"])
            wanted["earlier"] = [known["current"], *known.get("earlier", [])][:MOST_EARLIER]
        self._client.put_secret_value(SecretId=self._id, SecretString=json.dumps(wanted))
