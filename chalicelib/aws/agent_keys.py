"""The deployment's ``agent-key`` in Secrets Manager, from which agents' secrets are derived, and the one before it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, get_args

from botocore.exceptions import ClientError

from chalicelib.clock import Clock
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

#: How long (ms) a key is not read again for secrets that it does not prove. Agents that a rotation's first launches
#: start take longer to make a request.
REREAD_MS = 5_000

#: Secrets Manager's labels of a secret's versions: a rotation moves the first to a new one, the second behind it.
_Stage = Literal["AWSCURRENT", "AWSPREVIOUS"]


class AgentKeys:
    """Both keys, read when a secret is not derived from those that are known, and then not again for `REREAD_MS`.

    So a process that knows the key makes no more calls for secrets that were made here, and few for others.
    """

    def __init__(self, client: "SecretsManagerClient", settings: Settings, clock: Clock) -> None:
        self._client = client
        self._name = f"{settings.prefix}/agent-key"
        self._clock = clock
        #: By stage: when it was read (epoch ms), and the key, if there is one.
        self.known: dict[_Stage, tuple[int, str | None]] = {}

    def candidates(self) -> Iterator[str]:
        """Yield the keys that a secret may be derived from: those that are known, then those that were read anew.

        Who finds the right one stops there. Raises ``ClientError`` when AWS refuses.
        """
        yield from [key for _, key in self.known.values() if key is not None]
        stage: _Stage
        for stage in get_args(_Stage):
            now_ms = self._clock.now_ms()
            read_at_ms, _ = self.known.get(stage, (0, None))
            if not 0 <= now_ms - read_at_ms <= REREAD_MS:
                key = self._read(stage)
                self.known[stage] = now_ms, key
                if key is not None:
                    yield key

    def _read(self, stage: _Stage) -> str | None:
        try:
            return self._client.get_secret_value(SecretId=self._name, VersionStage=stage)["SecretString"]
        except ClientError as error:
            # A secret that was never rotated has no version before its first.
            if stage == "AWSPREVIOUS" and error.response["Error"]["Code"] == "ResourceNotFoundException":
                return None
            raise
