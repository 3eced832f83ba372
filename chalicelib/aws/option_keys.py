"""The deployment's ``option-key`` in Secrets Manager, by which secret option values are encrypted, and those before."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from chalicelib.clock import Clock
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

#: How long (ms) a process encrypts by the key that it has read: a rotation takes effect within it.
RENEWED_MS = 3_600_000

#: How long (ms) the keys are not read again for values that none of them opens.
REREAD_MS = 5_000


class OptionKeys:
    """All keys, read in one call once an hour, and when a value names one that is not known."""

    def __init__(self, client: "SecretsManagerClient", settings: Settings, clock: Clock) -> None:
        self._client = client
        self._name = f"{settings.prefix}/option-key"
        self._clock = clock
        #: When they were read (epoch ms), and the keys, the current one first.
        self.known: tuple[int, list[str]] = (0, [])

    def current(self) -> str:
        """Return the key to encrypt by. Raises ``ClientError`` when AWS refuses."""
        if not self._read_within(RENEWED_MS):
            self._read()
        return self.known[1][0]

    def candidates(self) -> Iterator[str]:
        """Yield the keys that a value may be encrypted by: those that are known, then those that were read anew.

        Who finds the right one stops there. Raises ``ClientError`` when AWS refuses.
        """
        yield from self.known[1]
        if not self._read_within(REREAD_MS):
            self._read()
            yield from self.known[1]

    def _read_within(self, age_ms: int) -> bool:
        read_at_ms, keys = self.known
        return bool(keys) and 0 <= self._clock.now_ms() - read_at_ms <= age_ms

    def _read(self) -> None:
        now_ms = self._clock.now_ms()
        keys = json.loads(self._client.get_secret_value(SecretId=self._name)["SecretString"])
        self.known = now_ms, [keys["current"], *keys.get("earlier", [])]
