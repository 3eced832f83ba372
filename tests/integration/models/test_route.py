"""The LLM proxy of a local stack: large bodies, clients that leave, what is over, and the money of a session."""

import concurrent.futures
import http.client
import json
import socket
import threading
from typing import Any
from urllib.parse import urlsplit

import pytest

from chalicelib.store.budgets import Level, ModelTotals
from infra.local.stack import LocalStack
from tests.client import Client, agent, eventually, session
from tests.integration.models.conftest import config_of, secret_of
from tests.offline_models import Asked, OfflineModels, Says

pytestmark = pytest.mark.xdist_group("models")

JSON = {"Content-Type": "application/json"}


def post(url: str, body: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    """POST JSON and return status and body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    try:
        connection.request("POST", parts.path, body, {**JSON, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def padded(size: int) -> bytes:
    """Return a JSON body of just so many bytes."""
    head, tail = b'{"model": "large", "a": "', b'"}'
    return head + b"x" * (size - len(head) - len(tail)) + tail


def test_a_body_of_20_mib_passes_and_one_byte_more_does_not(url: str, provider: OfflineModels) -> None:
    whole = padded(20 * 2**20)
    assert post(f"{url}/MAIN/v1/chat/completions", whole)[0] == 200
    assert provider.asked[0].body == whole
    status, said = post(f"{url}/MAIN/v1/chat/completions", whole + b" ")
    assert (status, len(provider.asked)) == (413, 1)
    assert b"20971520" in said


def test_a_body_that_does_not_say_its_size_is_bounded_too(url: str) -> None:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=30) as connection:
        head = f"POST {parts.path}/MAIN/v1 HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        piece = b"%x\r\n" % 2**20 + b"x" * 2**20 + b"\r\n"
        for _ in range(21):
            connection.sendall(piece)
        connection.sendall(b"0\r\n\r\n")
        assert b" 413 " in connection.recv(100)


def test_a_stranger_with_a_large_body_is_told_so(stack: LocalStack, url: str, provider: OfflineModels) -> None:
    status, _ = post(f"{stack.url}/llm-proxy/forged/MAIN/v1", padded(5 * 2**20))
    assert (status, provider.asked) == (401, [])
    assert post(f"{stack.url}/llm-proxy/", b"{}")[0] == 404


def test_whoever_leaves_a_stream_ends_it(url: str, provider: OfflineModels, stack: LocalStack, thinking: str) -> None:
    broken = threading.Event()
    seen = len(calls(stack, thinking))

    def note_the_end(number: int) -> None:
        if number == 1 and not broken.wait(10):
            raise AssertionError("nobody left")

    provider.next(Says(pieces=("a",) * 1000, before=note_the_end))
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.request("POST", f"{parts.path}/MAIN/v1/chat/completions", b'{"stream": true}', JSON)
    answer = connection.getresponse()
    assert answer.readline().startswith(b"data: ")
    answer.close()
    connection.close()
    eventually(lambda: len(calls(stack, thinking)) == seen + 1)
    broken.set()


def calls(stack: LocalStack, path: str) -> list[dict[str, Any]]:
    events = Client(stack.url, stack.key).call("GET", f"{path}/events?limit=1000").body
    return [event for event in events if event["type"] == "llm_proxy_call"]


def test_the_secret_of_a_session_that_has_ended_is_invalid(
    stack: LocalStack, client: Client, provider: OfflineModels
) -> None:
    path = client.create(session(agent("a", "thinker"), namespace="over"))
    url = f"{stack.url}/llm-proxy/{secret_of(stack, path, 'a')}/MAIN/v1/chat/completions"
    eventually(lambda: post(url, b"{}")[0] == 200)
    assert client.call("DELETE", path).status == 200
    client.wait_for_status(path, None)
    provider.forget()
    status, said = post(url, b"{}")
    assert (status, json.loads(said), provider.asked) == (401, {"message": "Invalid agent secret"}, [])


def test_ten_agents_share_a_dollar_to_the_micro_dollar(
    stack: LocalStack, client: Client, provider: OfflineModels
) -> None:
    """200 parallel calls, of which the budget pays for some: what was booked is what was used, and never too much."""
    price = {"model": "large", "input": "10", "output": "1000"}
    stack.services.llm_proxy.write(config_of(provider, timeout="30s", prices=[price]))
    stack.services.llm_proxy._known = None
    lock = threading.Lock()
    used: list[tuple[int, int]] = []

    def answer(asked: Asked) -> Says:
        assert asked.json["max_tokens"] == 20
        with lock:
            used.append((7 + len(used) % 900, 1 + len(used) % 20))
            return Says(input_tokens=used[-1][0], output_tokens=used[-1][1])

    provider.usual = answer
    names = [f"a{number}" for number in range(10)]
    request = session(*(agent(name, "thinker") for name in names), namespace="dollar")
    request["agentGraphRequest"]["budget"] = {"usd": "1"}
    path = client.create(request)
    eventually(lambda: {each["status"]["type"] for each in client.call("GET", f"{path}/agent").body} == {"running"})
    urls = [f"{stack.url}/llm-proxy/{secret_of(stack, path, name)}/MAIN/v1/chat/completions" for name in names]
    seen: list[int] = []

    def level_of(path: str) -> Level:
        budget = stack.services.budgets.find(path.rsplit("/", 1)[1])
        assert budget is not None
        assert budget.session is not None
        return budget.session

    def ask(number: int) -> int:
        body = {"model": "large", "max_tokens": 20, "stream": number % 3 == 0, "messages": []}
        status, said = post(urls[number % 10], json.dumps(body).encode())
        level = level_of(path)
        seen.append(level.spent + level.held)
        assert level.spent + level.held + level.available == level.limit == 1_000_000
        if status == 402:
            assert json.loads(said)["error"]["type"] == "insufficient_quota"
        return status

    with concurrent.futures.ThreadPoolExecutor(32) as threads:
        statuses = list(threads.map(ask, range(200)))
    assert set(statuses) == {200, 402}
    assert statuses.count(200) == len(used)
    cost = sum(10 * read + 1000 * written for read, written in used)
    assert level_of(path) == Level(1_000_000, 1_000_000 - cost, 0, cost)
    booked = stack.services.budgets.find(path.rsplit("/", 1)[1])
    assert booked is not None
    tokens = sum(read for read, _ in used), sum(written for _, written in used)
    assert booked.models == {"one/large": ModelTotals(len(used), *tokens, cost)}
    assert max(seen) <= 1_000_000
    client.call("DELETE", path)


def test_lines_about_calls_are_numbered_by_agent(stack: LocalStack, client: Client, thinking: str, url: str) -> None:
    def numbers() -> list[int]:
        lines = client.call("GET", f"{thinking}/logs?agent=ann").body
        tags = [tag for line in lines for tag in line["tags"] if tag["type"] == "proxy_request"]
        assert all(tag["mdcMap"] == {"pnum": str(tag["proxyNumber"])} for tag in tags)
        return [tag["proxyNumber"] for tag in tags]

    before = numbers()
    for _ in range(2):
        assert post(f"{url}/MAIN/v1/chat/completions", b"{}")[0] == 200
    assert numbers() == list(range(1, len(before) + 3))
