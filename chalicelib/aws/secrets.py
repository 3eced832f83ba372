"""Secrets Manager, with a cache: a secret is read again when the cached text is older than `MAX_AGE_MS`."""

from typing import TYPE_CHECKING

from chalicelib.clock import Clock
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

#: How long a secret is cached, in ms: a rotation takes effect within it.
MAX_AGE_MS = 60_000


class Secrets:
    """The secrets of this stage, by the last part of their names: three in all, so the cache needs no bound."""

    def __init__(self, client: "SecretsManagerClient", settings: Settings, clock: Clock) -> None:
        self._client = client
        self._prefix = settings.prefix
        self._clock = clock
        #: By name: when it was read (epoch ms), and its text.
        self._known: dict[str, tuple[int, str]] = {}

    def get(self, name: str) -> str:
        """Return a secret's text; ``agent-key`` is ``atoll-<stage>/agent-key``.

        Raises ``ClientError`` when AWS refuses.
        """
        now_ms = self._clock.now_ms()
        read_at_ms, text = self._known.get(name, (0, None))
        if text is None or not 0 <= now_ms - read_at_ms <= MAX_AGE_MS:
            text = self._client.get_secret_value(SecretId=f"{self._prefix}/{name}")["SecretString"]
            self._known[name] = (now_ms, text)
        return text
