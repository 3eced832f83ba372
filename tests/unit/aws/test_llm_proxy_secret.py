"""The configuration of models: what its command keeps and where, and how often a process reads it."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from moto import mock_aws
from typer.testing import CliRunner

from chalicelib.aws.llm_proxy_secret import RENEWED_MS, REREAD_MS
from chalicelib.services import Services
from chalicelib.settings import Settings
from chalicelib.wire.llm_proxy import NOTHING
from infra import llm_proxy
from tests.mcp_world import TestClock

FILE = """
[[llm-proxy.providers]]
name = "one"
format.type = "OpenAI"
apiKey = "${KEY}"
baseUrl = "https://api.example"
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClock]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("KEY", "hunter22")
    with mock_aws():
        boto3.client("secretsmanager").create_secret(Name="atoll-test/llm-proxy", SecretString=NOTHING)
        boto3.client("dynamodb").create_table(
            TableName="atoll-test-api-keys",
            AttributeDefinitions=[{"AttributeName": "keyHash", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "keyHash", "KeyType": "HASH"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield TestClock()


def process(clock: TestClock) -> Services:
    return Services(Settings(stage="test"), clock)


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(llm_proxy.app, [*arguments, "--stage", "test"], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "coral.toml"
    path.write_text(FILE)
    return path


def test_the_command_keeps_the_keys_apart_from_what_is_offered(clock: TestClock, file: Path) -> None:
    shown = run("put", str(file)) + run("show")
    assert "api.example" in shown
    assert "hunter22" not in shown
    services = process(clock)
    found = services.llm_proxy.provider("one")
    assert found is not None
    assert found.api_key.get_secret_value() == "hunter22"
    assert [offer.name for offer in services.model_offers.all()] == ["one"]
    items = boto3.client("dynamodb").scan(TableName="atoll-test-api-keys")["Items"]
    assert "hunter22" not in str(items)
    # It is no key of the API.
    assert list(services.api_keys.all()) == []
    run("clear")
    assert services.model_offers.all() == []


def test_what_cannot_be_taken_changes_nothing(clock: TestClock, file: Path) -> None:
    run("put", str(file))
    for content in (b"[llm-proxy]\nunknown = 1", b"\xff"):
        file.write_bytes(content)
        assert "✗" in run("put", str(file), code=1)
    assert process(clock).llm_proxy.provider("one") is not None


def test_a_change_is_seen_within_a_minute_and_a_new_provider_at_once(clock: TestClock, file: Path) -> None:
    services = process(clock)
    assert services.llm_proxy.provider("one") is None
    run("put", str(file))
    assert services.llm_proxy.provider("one") is None  # it has just looked
    clock.pass_ms(REREAD_MS + 1)
    assert services.llm_proxy.provider("one") is not None
    run("clear")
    clock.pass_ms(RENEWED_MS - 1)
    assert services.llm_proxy.provider("one") is not None
    clock.pass_ms(2)
    assert services.llm_proxy.provider("one") is None
