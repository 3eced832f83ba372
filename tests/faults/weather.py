"""AWS in bad weather: a local stack whose calls to DynamoDB, Step Functions and ECS go over HTTP, through microburst.

handlers ──HTTP──▶ microburst (throttles, errors, latency) ──HTTP──▶ a door of this process ──▶ moto
"""

import contextlib
import functools
import json
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch

from botocore.awsrequest import AWSPreparedRequest, HeadersDict
from botocore.session import Session
from moto.core.models import botocore_stubber

from chalicelib.services import Services
from infra.local.stack import LocalStack
from tests.agents import SLEEPER

#: Services that go through the weather, by the name in their signatures, and the hosts by which moto knows them.
HOSTS = {"dynamodb": "dynamodb", "states": "states", "ecs": "ecs"}
_CLIENTS = ("dynamodb", "stepfunctions", "ecs")
_SIGNED_FOR = re.compile(r"Credential=[^/]+/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")


class _Door(BaseHTTPRequestHandler):
    """Hands requests that came over HTTP to moto, as if its own client had made them."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        signed = _SIGNED_FOR.search(self.headers.get("Authorization", ""))
        assert signed is not None
        host = f"{HOSTS[signed['service']]}.{signed['region']}.amazonaws.com"
        headers = HeadersDict({**dict(self.headers.items()), "Host": host})
        request = AWSPreparedRequest("POST", f"https://{host}/", headers, body, False)
        answer = botocore_stubber.process_request(request)
        assert answer is not None
        status, answered, content = answer
        raw = content if isinstance(content, bytes) else str(content).encode()
        self.send_response(status)
        for name, value in answered.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: object) -> None:
        """A client that gives up is what these tests are about."""


class Weather:
    """The proxy's control."""

    def __init__(self, url: str) -> None:
        self.url = url

    def turn(self, *rules: dict[str, Any]) -> None:
        """Replace the rules."""
        self._call("rules", "POST", list(rules))

    def clear(self) -> None:
        """Let everything through."""
        self.turn()

    def fired(self) -> int:
        """Return how many calls have met with a fault so far."""
        return int(self._call("stats", "GET")["requests"]["faulted"])

    def _call(self, what: str, method: str, body: Any = None) -> Any:
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(f"{self.url}/_microburst/{what}", data, method=method)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())


@contextlib.contextmanager
def microburst(upstream: str) -> Iterator[Weather]:
    """Run the proxy in a process of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "microburst", "--upstream", upstream, "--port", str(port), "--no-resign"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    weather = Weather(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                weather._call("health", "GET")
                break
            except OSError:
                assert time.monotonic() < deadline, "microburst did not start"
                assert process.poll() is None, "microburst ended"
                time.sleep(0.05)
        yield weather
    finally:
        process.terminate()
        process.wait(10)


def _through(url: str) -> Callable[[Services, str], Any]:
    """Return how a deployment makes its clients when some of them go through the proxy."""
    make = Services.client

    def client(services: Services, service: str) -> Any:
        if service not in _CLIENTS:
            return make(services, service)
        through = functools.partialmethod(Session.create_client, endpoint_url=url)
        with patch.object(Session, "create_client", through):
            return make(services, service)

    return client


@contextlib.contextmanager
def stack_in_the_weather() -> Iterator[tuple[LocalStack, Weather]]:
    """Run a local stack behind the proxy."""
    server = _Server(("127.0.0.1", 0), _Door)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        with (
            microburst(f"http://127.0.0.1:{server.server_address[1]}") as weather,
            patch.object(Services, "client", _through(weather.url)),
            LocalStack(agents=[SLEEPER]) as stack,
        ):
            yield stack, weather
            weather.clear()
    finally:
        server.shutdown()
        server.server_close()
