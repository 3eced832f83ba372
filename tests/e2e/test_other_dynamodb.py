"""The local stack over another DynamoDB emulator, in another process: ministack's."""

from collections.abc import Iterator

import pytest

from infra.local.stack import LocalStack
from tests.agents import SLEEPER
from tests.client import Client, eventually, session, sleeper
from tests.e2e.ministack import Ministack
from tests.environments import NotInstallable

pytestmark = pytest.mark.xdist_group("other-dynamodb")


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    try:
        running = Ministack(enforces_policies=False)
    except NotInstallable as error:
        pytest.skip(f"ministack cannot be installed here: {error}")
    with running:
        yield running


@pytest.fixture(scope="module")
def client(aws: Ministack) -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", aws.url)
        patch.setenv("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", aws.url)
        with LocalStack(agents=[SLEEPER]) as stack:
            yield Client(stack.url, stack.key)


def test_a_session_lives_and_ends(aws: Ministack, client: Client) -> None:
    hold = {"mode": "hold_after_exit", "duration": 1_000}
    path = client.create(session(sleeper(seconds=0.5), sleeper("b", 0.2), namespace="other", persistenceMode=hold))
    keys = aws.client("dynamodb").scan(TableName="atoll-local-sessions")["Items"]
    assert [key["sessionId"]["S"] for key in keys] == [path.rsplit("/", 1)[1]]
    client.wait_for_status(path, "closing")
    client.wait_for_status(path, None)
    eventually(lambda: client.call("GET", "/api/v1/local/namespace/other").status == 404)


def test_a_namespace_is_deleted_with_what_is_in_it(client: Client) -> None:
    running = client.create(session(sleeper(), namespace="gone"))
    pending = client.create(session(sleeper(), namespace="gone", defer=True))
    assert client.call("DELETE", "/api/v1/local/namespace/gone").status == 200
    assert [client.status(path) for path in (running, pending)] == [None, None]
