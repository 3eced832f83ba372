"""Lambda: the functions that agents are."""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from chalicelib.aws.errors import is_transient

if TYPE_CHECKING:
    from chalicelib.store.agents import AgentRecord

#: How long (s) a connection may take.
CONNECT_TIMEOUT_S = 5

#: How long (characters) the error of a function may be.
LONGEST_ERROR = 1_000

#: How much (bytes) an answer may have: the largest state, each character of it escaped, and the rest.
LONGEST_ANSWER = 2_000_000

#: Refusals of Invoke that come from how busy the account or the function is (Lambda API reference, "Invoke", "Errors").
_BUSY = {
    "EC2ThrottledException",
    "ENILimitReachedException",
    "ResourceConflictException",
    "ResourceNotReadyException",
    "SnapStartNotReadyException",
    "TooManyRequestsException",
}


class FunctionFailed(Exception):
    """A function could not be called, raised, or took too long; the message says which, for the agent's author."""


class Busy(Exception):
    """A function could not be called just now."""


class LambdaClient(Protocol):
    """What is used of botocore's client."""

    def invoke(self, **request: Any) -> Any:
        """Call a function and wait for its answer."""


class Answer(NamedTuple):
    """What a function has answered: JSON, and which version of it did."""

    payload: bytes
    version: str | None = None


class AgentFunctions(Protocol):
    """What calls agents' functions: Lambda on AWS, processes of this machine on one."""

    def call(
        self, agent: "AgentRecord", function: Mapping[str, str], version: str | None, turn: Mapping[str, Any]
    ) -> Answer:
        """Call a function with a turn and wait for its answer; raise `FunctionFailed` or `Busy`."""


class LambdaFunctions:
    """The functions of this account that agents name."""

    def __init__(self, client: LambdaClient, limit_ms: int) -> None:
        """
        Parameters
        ----------
        client
            One that waits a little longer than ``limit_ms`` for an answer, and asks once.
        """
        self._client = client
        self._limit_ms = limit_ms

    def call(
        self, agent: "AgentRecord", function: Mapping[str, str], version: str | None, turn: Mapping[str, Any]
    ) -> Answer:
        """Call a function (`AgentFunctions`); what an alias stood for in the first turn is called in all of them."""
        name = function["function"]
        try:
            answer = self._client.invoke(
                FunctionName=pinned(name, version), Payload=json.dumps(turn, ensure_ascii=False).encode()
            )
            payload = answer["Payload"].read(LONGEST_ANSWER + 1)
        except (ClientError, BotoCoreError) as error:
            raise _refused(name, error, self._limit_ms) from error
        if len(payload) > LONGEST_ANSWER:
            raise FunctionFailed(f"{name} answered with more than {LONGEST_ANSWER} bytes")
        if "FunctionError" in answer:
            raise FunctionFailed(f"{name} failed: {_error_of(payload)}")
        return Answer(payload, answer.get("ExecutedVersion"))


def pinned(name: str, version: str | None) -> str:
    """Return a function's name or ARN with a version in the place of its alias; one that names no alias as it is."""
    prefix, _, qualifier = name.rpartition(":")
    has_alias = bool(prefix) and not qualifier.startswith("coral-agent-")
    return f"{prefix}:{version}" if has_alias and version else name


def _refused(name: str, error: ClientError | BotoCoreError, limit_ms: int) -> Exception:
    if isinstance(error, ClientError):
        answer = error.response["Error"]
        if answer["Code"] in _BUSY or is_transient(error):
            return Busy(f"{name} cannot be called just now: {answer['Code']}")
        return FunctionFailed(f"{name} cannot be called: {answer['Code']}: {answer.get('Message', '')}"[:LONGEST_ERROR])
    if type(error).__name__ == "ReadTimeoutError":
        return FunctionFailed(f"{name} has not answered within {limit_ms / 1000:g} s, which a turn may take")
    return Busy(f"{name} cannot be called just now: {type(error).__name__}")


def _error_of(payload: bytes) -> str:
    """Return what a function that has failed says of that (Lambda Developer Guide, "Function errors")."""
    try:
        said = json.loads(payload)
        return f"{said['errorType']}: {said.get('errorMessage', '')}"[:LONGEST_ERROR]
    except (ValueError, KeyError, TypeError):
        return payload[:LONGEST_ERROR].decode("utf-8", "replace")
