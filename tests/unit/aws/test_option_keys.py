"""The keys by which secret option values are encrypted: how often they are read, and which there are."""

import json
from collections.abc import Iterator

import pytest
from moto import mock_aws

from chalicelib.aws.option_keys import RENEWED_MS, REREAD_MS
from chalicelib.domain.sealing import Unreadable
from chalicelib.services import Services
from chalicelib.settings import Settings
from infra.option_keys import Keys
from tests.mcp_world import TestClock

NAME = "atoll-test/option-key"
PLACE = {"session_id": "s", "agent": "a"}


class Process:
    """One process of a deployment that has a key."""

    def __init__(self, clock: TestClock) -> None:
        self.services = Services(Settings(stage="test"), clock)
        self.client = self.services.option_keys._client
        self.reads = 0
        self.client.meta.events.register("before-parameter-build.secretsmanager.GetSecretValue", self._note)

    def _note(self, **_: object) -> None:
        self.reads += 1

    def seal(self) -> bytes:
        return self.services.seal("hunter22", **PLACE)

    def opens(self, sealed: bytes) -> bool:
        return self.services.opened(sealed, **PLACE) == "hunter22"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClock]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        clock = TestClock()
        Process(clock).client.create_secret(Name=NAME, SecretString=json.dumps({"current": "first"}))
        yield clock


def test_a_process_reads_the_keys_once_an_hour(clock: TestClock) -> None:
    process = Process(clock)
    for _ in range(5):
        assert process.opens(process.seal())
    assert process.reads == 1
    clock.pass_ms(RENEWED_MS + 1)
    assert process.opens(process.seal())
    assert process.reads == 2


def test_a_rotated_key_is_used_within_an_hour_and_values_of_those_before_are_still_read(clock: TestClock) -> None:
    process, keys = Process(clock), Keys(Process(clock).client, "test")
    sealed = [process.seal()]
    for _ in range(3):
        keys.rotate()
        clock.pass_ms(RENEWED_MS + 1)
        sealed.append(process.seal())
    assert len({each[1:9] for each in sealed}) == 4  # each by a key of its own
    assert all(Process(clock).opens(each) for each in sealed)


def test_a_key_made_since_is_found_by_a_process_that_knows_an_older_one(clock: TestClock) -> None:
    old = Process(clock)
    assert old.opens(old.seal())
    Keys(old.client, "test").rotate()
    sealed = Process(clock).seal()
    clock.pass_ms(REREAD_MS + 1)
    assert old.opens(sealed)
    assert old.reads == 3  # the first, that of the rotation, and the one that found the new key


def test_values_that_no_key_opens_have_the_keys_read_now_and_then(clock: TestClock) -> None:
    process = Process(clock)
    sealed = process.seal()
    Keys(process.client, "test").rotate(forget_earlier=True)
    other = Process(clock)
    for _ in range(10):
        with pytest.raises(Unreadable):
            other.opens(sealed)
        clock.pass_ms(REREAD_MS // 10)
    assert other.reads == 1
