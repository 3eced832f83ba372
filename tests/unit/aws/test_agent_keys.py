"""The keys that agents' secrets are derived from: how often they are read, and which there are."""

from collections.abc import Iterator

import pytest
from moto import mock_aws

from chalicelib.aws.agent_keys import REREAD_MS
from chalicelib.domain import agent_secrets
from chalicelib.services import Services
from chalicelib.settings import Settings
from tests.mcp_world import TestClock

NAME = "atoll-test/agent-key"


class Process:
    """One process of a deployment that has a key."""

    def __init__(self) -> None:
        self.clock = TestClock()
        self.services = Services(Settings(stage="test"), self.clock)
        self.client = self.services.agent_keys._client
        self.reads: list[str] = []
        self.client.meta.events.register("before-parameter-build.secretsmanager.GetSecretValue", self._note)

    def _note(self, params: dict[str, str], **_: object) -> None:
        self.reads.append(params["VersionStage"])

    def takes(self, key: str) -> bool:
        return self.services.minted(agent_secrets.mint(key, "ns", "s", "a"))


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        made = Process()
        made.client.create_secret(Name=NAME, SecretString="first")
        yield made


def test_a_process_reads_the_key_once(process: Process) -> None:
    for _ in range(3):
        assert process.takes("first")
        process.clock.pass_ms(10 * REREAD_MS)
    assert process.reads == ["AWSCURRENT"]


def test_forged_secrets_have_the_keys_read_now_and_then(process: Process) -> None:
    assert process.takes("first")
    for _ in range(10):
        assert not process.takes("a guess")
        process.clock.pass_ms(REREAD_MS // 10)
    assert process.reads == ["AWSCURRENT", "AWSPREVIOUS"]
    process.clock.pass_ms(REREAD_MS)
    assert not process.takes("a guess")
    assert process.reads == ["AWSCURRENT", "AWSPREVIOUS"] * 2


def test_the_key_before_the_current_one_is_taken_and_no_older_one(process: Process) -> None:
    process.client.put_secret_value(SecretId=NAME, SecretString="second")
    assert (process.takes("first"), process.takes("second")) == (True, True)
    process.client.put_secret_value(SecretId=NAME, SecretString="third")
    process.clock.pass_ms(REREAD_MS + 1)
    assert process.takes("third")
    process.services.agent_keys.known.clear()
    assert (process.takes("first"), process.takes("second")) == (False, True)


@pytest.mark.parametrize("text", ["", "x", "a.b", "WyJucyIsInMiLCJhIl0.ü", "WyJucyIsInMiLCJhIl0.\ud800"])
def test_what_is_no_secret_is_not_taken(process: Process, text: str) -> None:
    assert not process.services.minted(text)
