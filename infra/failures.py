"""Says why a command failed, and ends it with the exit code that `docs/cli.md` has for that."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from botocore import exceptions
from botocore.exceptions import BotoCoreError, ClientError

from atoll.command import FAILED, NO_ACCESS, UNREACHABLE
from atoll.command.terminal import complain
from chalicelib.domain.errors import AtollError, Forbidden, Unauthorized

#: What services say about credentials that are not valid, or may not do it. Most answer 400 with them.
_NO_ACCESS_CODES = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AuthFailure",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "SignatureDoesNotMatch",
        "UnauthorizedOperation",
        "UnrecognizedClientException",
    }
)

_NO_CREDENTIALS = (
    exceptions.NoCredentialsError,
    exceptions.CredentialRetrievalError,
    exceptions.PartialCredentialsError,
    exceptions.SSOError,
    exceptions.TokenRetrievalError,
)


@contextmanager
def told(*others: type[Exception]) -> Iterator[None]:
    """Print an error of AWS, of Atoll or of these others as one sentence, and exit with its code."""
    failures: tuple[type[Exception], ...] = (AtollError, ClientError, BotoCoreError, *others)
    try:
        yield
    except failures as error:
        complain(str(error))
        raise typer.Exit(code_of(error)) from error


def code_of(error: Exception) -> int:
    """Return the exit code of an error."""
    if isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)):
        return UNREACHABLE
    is_refused = isinstance(error, ClientError) and error.response["Error"]["Code"] in _NO_ACCESS_CODES
    if is_refused or isinstance(error, (*_NO_CREDENTIALS, Unauthorized, Forbidden)):
        return NO_ACCESS
    return FAILED
