"""Clients that ask before they send a body, as curl does for a large one and Java for any."""

import json
import socket
from urllib.parse import urlsplit

import pytest

from infra.local.stack import LocalStack

pytestmark = pytest.mark.xdist_group("api")


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/v1/local/namespace", b"200 OK"), ("/mcp/v1/nobody/mcp", b"401 Unauthorized")],
    ids=["API", "agents' endpoint"],
)
def test_a_client_that_asks_before_it_sends_its_body_is_told_to(stack: LocalStack, path: str, status: bytes) -> None:
    address = urlsplit(stack.url)
    body = json.dumps({"name": "asked", "annotations": {"long": "x" * 200}}).encode().ljust(100_000)
    head = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {stack.key}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Expect: 100-continue",
        "Connection: close",
    ]
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    first, *lines = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert first == b"HTTP/1.1 " + status
    assert [line for line in lines if line.lower().startswith(b"server:")] == [b"server: Atoll"]
