"""Receives webhooks: checks each, keeps it once, answers at once, and works on it afterwards.

ATOLL_WEBHOOK_SECRET=… python receiver.py [PORT]; it needs `pip install standardwebhooks`.
"""

import base64
import json
import os
import queue
import sys
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

INBOX = Path(os.environ.get("INBOX", "inbox"))
MOST_BYTES = 60_000_000
SECRET = os.environ.get("ATOLL_WEBHOOK_SECRET") or sys.exit("ATOLL_WEBHOOK_SECRET is not set: anybody could sign")
VERIFIER = Webhook("whsec_" + base64.b64encode(SECRET.encode()).decode())
todo: queue.SimpleQueue[Path] = queue.SimpleQueue()


def keep(delivery: str, body: bytes) -> None:
    """Keep a delivery in the inbox, unless it is there: it may come twice, at the same moment even."""
    path = INBOX / f"{delivery}.json"
    if path.exists() or path.with_suffix(".done").exists():
        return
    part = INBOX / f"{delivery}.{threading.get_ident()}"
    part.write_bytes(body)
    try:
        os.link(part, path)  # of two at once, one makes it
        todo.put(path)
    except FileExistsError:
        pass
    finally:
        part.unlink()


def work() -> None:
    """Work on what has come, and first on what a restart has left over."""
    for path in sorted(INBOX.glob("*.json")):
        todo.put(path)
    while True:
        path = todo.get()
        try:
            handle(json.loads(path.read_bytes()))
            path.rename(path.with_suffix(".done"))
        except Exception:  # what fails is left for the next start
            traceback.print_exc()


def handle(report: dict[str, Any]) -> None:
    """Do what is to be done: here is the place for your own."""
    if "sessionState" in report:  # news of a budget has a "type" instead
        print(f"session {report['sessionState']['state']['id']} has ended", flush=True)


class Receiver(BaseHTTPRequestHandler):
    """One request."""

    timeout = 10

    def do_POST(self) -> None:
        """Answer 204 to what is Atoll's, known or new, and 400 to anything else."""
        try:
            size = int(self.headers.get("Content-Length", ""))
            if not 0 <= size <= MOST_BYTES:
                return self.answer(413)
            body = self.rfile.read(size)
            found = {name.lower(): value for name, value in self.headers.items()}  # of a name that comes twice, one
            VERIFIER.verify(body, found)
        except (WebhookVerificationError, ValueError):  # headers that are missing, of another form, or forged
            return self.answer(400)
        keep(found["webhook-id"], body)
        self.answer(204)

    def answer(self, status: int) -> None:
        """Send a status and nothing else."""
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


if __name__ == "__main__":
    INBOX.mkdir(exist_ok=True)
    server = ThreadingHTTPServer(("", int(sys.argv[1]) if len(sys.argv) > 1 else 8080), Receiver)
    print(f"listening on {server.server_port}", flush=True)
    threading.Thread(target=work, daemon=True).start()
    server.serve_forever()
