"""The client's end of the webhook: a small HTTP server that keeps what it was sent, and checks the signatures."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError


@dataclass(frozen=True)
class Delivery:
    """One POST as it came in. A signature is over the body's bytes, so it is checked before anything parses them."""

    at_s: float
    headers: dict[str, str]
    body: bytes

    @property
    def report(self) -> dict[str, Any]:
        """The `SessionEndReport` that was delivered."""
        report: dict[str, Any] = json.loads(self.body)
        return report

    def coral_signature_holds(self, secret: str) -> bool:
        """Whether `X-Coral-Signature` is the body's HMAC-SHA256 in hexadecimal, as Coral Server signs."""
        signature = hmac.new(secret.encode(), self.body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(signature, self.headers.get("x-coral-signature", ""))

    def standard_signature_holds(self, secret: str) -> bool:
        """Whether id, time and body carry a signature of the Standard Webhooks specification.

        The library gets the key's bytes; it would take a text for base64.
        """
        try:
            Webhook(secret.encode()).verify(self.body, self.headers)
        except WebhookVerificationError:
            return False
        return True


@dataclass
class Receiver:
    """Where the session's end report is to go."""

    url: str
    deliveries: list[Delivery] = field(default_factory=list)


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Receive webhooks on a free port of this machine."""
    receiver = Receiver("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.deliveries.append(Delivery(time.monotonic(), headers, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the demo shows what came."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/session-ended"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
