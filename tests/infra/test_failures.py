"""What commands of AWS say when they fail: on standard error, in one line, with the exit code for scripts."""

from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore import exceptions
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from atoll.command import FAILED, NO_ACCESS, UNREACHABLE
from atoll.command.program import app
from infra.failures import code_of

#: Wider than what a terminal is taken for that is none.
LONG = " ".join(["the role may not do it"] * 10)

COMMANDS = [
    ("deploy",),
    ("deploy", "--check"),
    ("smoke", "--yes"),
    ("keys", "list"),
    ("keys", "list", "--json"),
    ("secrets", "show"),
    ("secrets", "rotate-option-key"),
    ("models", "show"),
]


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": LONG}}, "AnyCall")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_failure_is_one_line_of_standard_error(monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    def client(*_: Any, **__: Any) -> Any:
        raise refused("AccessDeniedException")

    session = SimpleNamespace(region_name="eu-west-1", client=client, resource=client)
    monkeypatch.setattr(boto3, "Session", lambda **_: session)
    done = CliRunner().invoke(app, [*command])
    assert (done.exit_code, done.stdout) == (NO_ACCESS, ""), done.output
    assert done.stderr.splitlines() == [f"✗ {refused('AccessDeniedException')}"]


def test_a_file_of_models_that_is_not_there_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "Session", lambda **_: SimpleNamespace(region_name="eu-west-1"))
    done = CliRunner().invoke(app, ["models", "put", "/nowhere/models.toml"])
    assert (done.exit_code, done.stdout) == (FAILED, "")
    assert "/nowhere/models.toml" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refused("UnrecognizedClientException"), NO_ACCESS),
        (exceptions.NoCredentialsError(), NO_ACCESS),
        (exceptions.EndpointConnectionError(endpoint_url="http://127.0.0.1:1"), UNREACHABLE),
        (exceptions.ReadTimeoutError(endpoint_url="http://127.0.0.1:1"), UNREACHABLE),
        (refused("ResourceNotFoundException"), FAILED),
    ],
)
def test_each_failure_has_its_exit_code(error: Exception, code: int) -> None:
    assert code_of(error) == code
