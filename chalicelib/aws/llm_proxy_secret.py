"""The deployment's ``llm-proxy`` in Secrets Manager: the providers of models with their keys, limits and prices."""

from typing import TYPE_CHECKING

from chalicelib.clock import Clock
from chalicelib.settings import Settings
from chalicelib.wire.llm_proxy import NOTHING, LlmProvider, LlmProxyConfig

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

#: How long (ms) a process goes by what it has read: a change takes effect within it.
RENEWED_MS = 60_000

#: How long (ms) it is not read again for a provider that is not in it.
REREAD_MS = 5_000


def secret_id(stage: str) -> str:
    """Return the name of the secret."""
    return f"atoll-{stage}/llm-proxy"


class LlmProxySecret:
    """The configuration, read once a minute, and when a provider is asked for that is not known."""

    def __init__(self, client: "SecretsManagerClient", settings: Settings, clock: Clock) -> None:
        self._client = client
        self._id = secret_id(settings.stage)
        self._clock = clock
        #: When it was read (epoch ms), its text, and what that says.
        self._known: tuple[int, str, LlmProxyConfig] | None = None

    def config(self) -> LlmProxyConfig:
        """Return the configuration. Raises ``ClientError`` when AWS refuses."""
        return self._not_older_than(RENEWED_MS)

    def provider(self, name: str) -> LlmProvider | None:
        """Return a provider by its name; ``None`` when it is not configured. Raises ``ClientError``."""
        return self.config().provider(name) or self._not_older_than(REREAD_MS).provider(name)

    def write(self, config: LlmProxyConfig) -> None:
        """Replace the configuration: for the operator, whose right that is alone."""
        self._client.put_secret_value(SecretId=self._id, SecretString=config.to_text())

    def _not_older_than(self, age_ms: int) -> LlmProxyConfig:
        now_ms = self._clock.now_ms()
        if self._known is None or not 0 <= now_ms - self._known[0] <= age_ms:
            text = self._client.get_secret_value(SecretId=self._id).get("SecretString", NOTHING)
            same = self._known is not None and self._known[1] == text
            config = self._known[2] if same and self._known else LlmProxyConfig.of_text(text)
            self._known = now_ms, text, config
        return self._known[2]
