"""The URLs of this stage, which are known only once its functions are deployed: a parameter of Systems Manager."""

import json
from typing import TYPE_CHECKING, NamedTuple

from chalicelib.clock import Clock
from chalicelib.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_ssm import SSMClient

#: How long the URLs are believed, in ms. They change when a stage is made anew.
MAX_AGE_MS = 60_000

#: No URL of a stage has more characters. A REST API's is ``https://`` (8), an id (10), ``.execute-api.`` (13), a region
#: (15, ``us-isof-south-1``), a dot and a suffix (17, ``.amazonaws.com.cn``), a slash and a stage (17); a Function URL's
#: is shorter (an id of 32, but ``.on.aws`` and no path).
LONGEST_URL = 80


class Urls(NamedTuple):
    """Base URLs of the REST API and of the agents' endpoint, without a slash at the end."""

    api: str
    mcp: str


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
        if self._settings.api_url:
            return _set(self._settings)
        now_ms = self._clock.now_ms()
        if self._read is None or now_ms - self._read[0] >= MAX_AGE_MS:
            answer = self._client.get_parameter(Name=f"/atoll/{self._settings.stage}/urls")
            found = json.loads(answer["Parameter"]["Value"])
            self._read = now_ms, Urls(found["api"].rstrip("/"), found["mcp"].rstrip("/"))
        return self._read[1]


def longest(settings: Settings) -> Urls:
    """Return URLs that take as much room as any that `StageUrls.get` may return: who only counts need not ask AWS."""
    return _set(settings) if settings.api_url else Urls("u" * LONGEST_URL, "u" * LONGEST_URL)


def _set(settings: Settings) -> Urls:
    return Urls(settings.api_url, settings.mcp_url or settings.api_url)
