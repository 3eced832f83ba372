"""What may go wrong when a server is called."""

from collections.abc import Mapping


class AtollError(Exception):
    """The base of all errors of this package."""


class AtollWarning(UserWarning):
    """What of a request has no effect, as the server says."""


class Unreachable(AtollError):
    """No answer came; what was asked for may have happened all the same."""


class NotVerified(AtollError):
    """A webhook is not Atoll's, not as it was sent, or too old."""


class Refused(AtollError):
    """The server answered with an error.

    Attributes
    ----------
    status : int
        The HTTP status.
    headers : Mapping[str, str]
        The headers of the answer.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str]) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers


class Unauthorized(Refused):
    """The API key is missing or not valid (401)."""


class Forbidden(Refused):
    """The API key does not reach it, or its role may not do it (403)."""


class NotFound(Refused):
    """It is not there (404)."""


class Conflict(Refused):
    """It cannot be done in its present state (409)."""


class TooManyRequests(Refused):
    """A quota or a rate is used up (429)."""


class Unavailable(Refused):
    """The server is busy, or what it needs is (503); it may have happened all the same."""


BY_STATUS: Mapping[int, type[Refused]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    429: TooManyRequests,
    503: Unavailable,
}
