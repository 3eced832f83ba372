"""AWS slow or failing: a local stack whose calls to DynamoDB, Step Functions and ECS go over HTTP, through microburst.

handlers ──HTTP──▶ microburst (throttles, errors, latency) ──HTTP──▶ an endpoint of this process ──▶ the stack's AWS
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
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch

import boto3
from botocore import xform_name
from botocore.awsrequest import AWSPreparedRequest, HeadersDict
from botocore.exceptions import ClientError
from botocore.session import Session
from moto.core.models import botocore_stubber

from chalicelib.services import Services
from infra.local.environment import REGION
from infra.local.stack import LocalStack
from tests.agents import SLEEPER

#: Services whose calls go through microburst.
_CLIENTS = ("dynamodb", "stepfunctions", "ecs")
_SIGNED_FOR = re.compile(r"Credential=[^/]+/\d+/(?P<region>[^/]+)/(?P<service>[^/]+)/aws4_request")


class _Endpoint(BaseHTTPRequestHandler):
    """Asks the stack's AWS for what came over HTTP."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "_Server"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        signed = _SIGNED_FOR.search(self.headers.get("Authorization", ""))
        assert signed is not None
        if signed["service"] == "dynamodb":
            status, answered, raw = self._ask_moto(signed["region"], body)
        else:
            status, answered, raw = self._ask_engine(signed["service"], body)
        self.send_response(status)
        for name, value in answered.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def _ask_moto(self, region: str, body: bytes) -> tuple[int, dict[str, Any], bytes]:
        """Hand DynamoDB's requests to moto as they are: what is binary in them has no other form."""
        host = f"dynamodb.{region}.amazonaws.com"
        headers: Any = HeadersDict({**dict(self.headers.items()), "Host": host})  # as botocore has them then
        answer = botocore_stubber.process_request(AWSPreparedRequest("POST", f"https://{host}/", headers, body, False))
        assert answer is not None
        status, answered, content = answer
        return status, answered, content if isinstance(content, bytes) else str(content).encode()

    def _ask_engine(self, service: str, body: bytes) -> tuple[int, dict[str, Any], bytes]:
        """Ask by a client of this process, which the stack's engines answer."""
        client = self.server.client({"states": "stepfunctions"}.get(service, service))
        operation = xform_name(self.headers["X-Amz-Target"].rpartition(".")[2])
        try:
            status, answer = 200, getattr(client, operation)(**json.loads(body))
            del answer["ResponseMetadata"]
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            failure = error.response["Error"]
            answer = {"__type": failure["Code"], "message": failure.get("Message", "")}
        return status, {"Content-Type": self.headers["Content-Type"]}, json.dumps(answer, default=_epoch_s).encode()

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


def _epoch_s(moment: datetime) -> float:
    return moment.timestamp()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Endpoint)
        self._lock = threading.Lock()
        self._clients: dict[str, Any] = {}

    def client(self, service: str) -> Any:
        """Return a client whose calls bypass microburst."""
        with self._lock:
            if service not in self._clients:
                self._clients[service] = boto3.client(service, region_name=REGION)  # type: ignore[call-overload]  # of any service
            return self._clients[service]

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
        # It would wait for connections that the stack's clients keep open.
        process.kill()
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
    server = _Server()
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
