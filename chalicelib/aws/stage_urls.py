"""The URLs of this stage, which are known only once its functions are deployed: a parameter of Systems Manager."""

import json
from typing import TYPE_CHECKING

from chalicelib.clock import Clock
from chalicelib.settings import Settings, Urls

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

#: How long the URLs are cached, in ms. They change when a stage is made anew.
MAX_AGE_MS = 60_000


class StageUrls:
    """Reads the parameter ``/atoll/<stage>/urls``, unless the settings name the URLs."""

    def __init__(self, client: "SSMClient", settings: Settings, clock: Clock) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock
        self._read: tuple[int, Urls] | None = None

    def get(self) -> Urls:
        """Return the URLs, at most a minute old.

        Raises ``ClientError`` as AWS does: ``ParameterNotFound`` before the first deployment has come to its end.
        """
        if self._settings.urls:
            return self._settings.urls
        now_ms = self._clock.now_ms()
        if self._read is None or now_ms - self._read[0] >= MAX_AGE_MS:
            answer = self._client.get_parameter(Name=f"/atoll/{self._settings.stage}/urls")
            found = json.loads(answer["Parameter"]["Value"])
            # An earlier deployment has written no `sockets`.
            self._read = now_ms, Urls(*(found.get(name, "").rstrip("/") for name in Urls._fields))
        return self._read[1]
