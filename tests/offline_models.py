"""A provider of models without models: it speaks both APIs, answers by a script, and fails in every way that is asked.

``python -m tests.offline_models`` serves one at port 5556, for a try of the LLM proxy without a key.
"""

import contextlib
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Json = dict[str, Any]

#: What an answer says unless the script says otherwise.
TEXT = "Hello from upstream"


@dataclass(frozen=True)
class Asked:
    """A request as the provider got it; names of headers in lower case."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """Return a header that came once at most."""
        found = [value for key, value in self.headers if key == name]
        assert len(found) <= 1, found
        return found[0] if found else None

    @property
    def json(self) -> Any:
        """What the body says."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Says:
    """The model answers, buffered or streamed as it was asked."""

    pieces: tuple[str, ...] = tuple(TEXT.split(" "))
    input_tokens: int = 15
    output_tokens: int = 5
    #: Called before each piece of a stream: what it raises or waits for happens in the middle.
    before: Callable[[int], None] = lambda number: None
    #: Whether it says how many tokens it took.
    tells_usage: bool = True


@dataclass(frozen=True)
class Answers:
    """An HTTP answer, byte by byte; ``close`` ends the connection behind it, whatever its headers promise."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    close: bool = False


class HangUp(Exception):
    """Ends the connection at once."""


Reply = Says | Answers | Callable[[Asked], "Says | Answers"]


class OfflineModels:
    """A provider at a free port of this machine, from ``with`` to its end."""

    def __init__(self, port: int = 0) -> None:
        #: What comes next; then `usual` again and again.
        self.script: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self.usual: Reply = Says()
        self.asked: list[Asked] = []
        #: Set at the end: whoever hangs stops.
        self.over = threading.Event()
        self._server = _Server(("127.0.0.1", port), self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def next(self, *replies: Reply) -> None:
        """Answer the next requests so."""
        for reply in replies:
            self.script.put(reply)

    def forget(self) -> None:
        """Begin anew."""
        self.asked.clear()
        self.usual = Says()
        with contextlib.suppress(queue.Empty):
            while True:
                self.script.get_nowait()

    def hang(self, within_s: float = 30) -> None:
        """Say nothing until the provider goes."""
        self.over.wait(within_s)
        raise HangUp

    def reply_to(self, asked: Asked) -> Says | Answers:
        """Take down a request and return the answer to it."""
        self.asked.append(asked)
        try:
            reply = self.script.get_nowait()
        except queue.Empty:
            reply = self.usual
        return reply if isinstance(reply, Says | Answers) else reply(asked)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], models: OfflineModels) -> None:
        super().__init__(address, _Handler)
        self.models = models

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up is part of many scripts."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = [(name.lower(), value) for name, value in self.headers.items()]
        asked = Asked(self.command, self.path, headers, body)
        try:
            reply = self.server.models.reply_to(asked)
            if isinstance(reply, Answers):
                self._answer(reply)
            elif asked.method == "GET" or not asked.json.get("stream"):
                whole = json.dumps(_whole(asked, reply)).encode()
                self._answer(Answers(body=whole))
            else:
                self._stream(asked, reply)
        except HangUp:
            self._hang_up()

    def _answer(self, answer: Answers) -> None:
        self.send_response(answer.status)
        named = {name.lower() for name in answer.headers}
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if not {"content-length", "transfer-encoding"} & named:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)
        if answer.close:
            raise HangUp

    def _stream(self, asked: Asked, says: Says) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in _events(asked, says):
            self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def _hang_up(self) -> None:
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _whole(asked: Asked, says: Says) -> Json:
    path = asked.target.partition("?")[0]
    if asked.method == "GET":
        return {"object": "list", "data": [{"id": "model", "object": "model", "created": 1, "owned_by": "nobody"}]}
    model, text = asked.json.get("model"), " ".join(says.pieces)
    if path.endswith("/messages"):
        return {**_anthropic_message(model, says), "content": [{"type": "text", "text": text}]}
    if path.endswith("/responses"):
        return _response(model, says)
    usage = _openai_usage(says)
    if path.endswith("/embeddings"):
        vector = {"object": "embedding", "index": 0, "embedding": [0.0, 1.0]}
        return {"object": "list", "model": model, "data": [vector], **usage}
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], **usage}


def _openai_usage(says: Says) -> Json:
    if not says.tells_usage:
        return {}
    total = says.input_tokens + says.output_tokens
    return {
        "usage": {
            "prompt_tokens": says.input_tokens,
            "completion_tokens": says.output_tokens,
            "total_tokens": total,
        }
    }


def _response(model: str, says: Says) -> Json:
    text = {"type": "output_text", "text": " ".join(says.pieces), "annotations": []}
    message = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [text]}
    usage = {
        "input_tokens": says.input_tokens,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": says.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": says.input_tokens + says.output_tokens,
    }
    return {
        "id": "r",
        "object": "response",
        "created_at": 1,
        "model": model,
        "status": "completed",
        "output": [message],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        **({"usage": usage} if says.tells_usage else {}),
    }


def _anthropic_message(model: str, says: Says) -> Json:
    usage = {"input_tokens": says.input_tokens, "output_tokens": says.output_tokens}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        **({"usage": usage} if says.tells_usage else {}),
    }


def _events(asked: Asked, says: Says) -> Iterator[bytes]:
    path = asked.target.partition("?")[0]
    if path.endswith("/messages"):
        return _anthropic_events(asked.json["model"], says)
    if path.endswith("/responses"):
        return _responses_events(asked.json["model"], says)
    return _openai_events(asked.json, says)


def _openai_events(body: Json, says: Says) -> Iterator[bytes]:
    def chunk(delta: Json, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _data({**head, "choices": [choice]})

    head = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": body["model"]}
    yield chunk({"role": "assistant", "content": ""})
    for number, piece in enumerate(says.pieces):
        says.before(number)
        yield chunk({"content": piece if number == 0 else f" {piece}"})
    yield chunk({}, "stop")
    if (body.get("stream_options") or {}).get("include_usage") and says.tells_usage:
        yield _data({**head, "choices": [], **_openai_usage(says)})
    yield b"data: [DONE]\n\n"


def _responses_events(model: str, says: Says) -> Iterator[bytes]:
    begun = {**_response(model, says), "status": "in_progress", "output": [], "usage": None}
    yield _event("response.created", {"type": "response.created", "sequence_number": 0, "response": begun})
    for number, piece in enumerate(says.pieces):
        says.before(number)
        place = {"item_id": "m", "output_index": 0, "content_index": 0, "logprobs": [], "sequence_number": number + 1}
        kind = "response.output_text.delta"
        yield _event(kind, {"type": kind, "delta": piece if number == 0 else f" {piece}", **place})
    last = {"sequence_number": len(says.pieces) + 1, "response": _response(model, says)}
    yield _event("response.completed", {"type": "response.completed", **last})


def _anthropic_events(model: str, says: Says) -> Iterator[bytes]:
    message = _anthropic_message(model, says) | {"stop_reason": None}
    if says.tells_usage:
        message["usage"] = {"input_tokens": says.input_tokens, "output_tokens": 1}
    yield _event("message_start", {"type": "message_start", "message": message})
    block = {"type": "text", "text": ""}
    yield _event("content_block_start", {"type": "content_block_start", "index": 0, "content_block": block})
    yield _event("ping", {"type": "ping"})
    for number, piece in enumerate(says.pieces):
        says.before(number)
        delta = {"type": "text_delta", "text": piece if number == 0 else f" {piece}"}
        yield _event("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta})
    yield _event("content_block_stop", {"type": "content_block_stop", "index": 0})
    end: Json = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
    usage = {"usage": {"output_tokens": says.output_tokens}} if says.tells_usage else {}
    yield _event("message_delta", {**end, **usage})
    yield _event("message_stop", {"type": "message_stop"})


def _data(value: Json) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _event(kind: str, value: Json) -> bytes:
    return f"event: {kind}\n".encode() + _data(value)


def overloaded(retry_after_s: int | None = None) -> Answers:
    """Anthropic's answer of a provider that is too busy."""
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    later = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
    return Answers(529, json.dumps(body).encode(), {"Content-Type": "application/json", **later})


def lies_about_length() -> Answers:
    """An answer that ends before the length that it has told."""
    return Answers(body=b'{"id"', headers={"Content-Type": "application/json", "Content-Length": "1000"}, close=True)


def garbage_stream() -> Answers:
    """A stream that is none."""
    body = b"\x00\xff\xfe data: {\n\ndata: {not json}\r\ndata: [[[[\nevent: message_start\ndata: 7\n\ndata: \xff\n"
    return Answers(body=body, headers={"Content-Type": "text/event-stream"})


def main() -> None:
    """Serve until Ctrl-C."""
    with OfflineModels(5556) as models, contextlib.suppress(KeyboardInterrupt):
        print(f"{models.url} answers as OpenAI and as Anthropic do, without a model")
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
