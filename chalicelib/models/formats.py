"""The two APIs that models are spoken to with: credentials, what a stream needs, and where tokens are told (C.3)."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from chalicelib.wire.events import LlmUsage
from chalicelib.wire.llm_proxy import LlmFormat

Json = dict[str, Any]

#: Numbers of tokens above this are in no usage, and none of ours (`prices.MAX_TOKENS`).
_MOST_TOKENS = 1_000_000_000

_INPUT = ("prompt_tokens", "input_tokens", "inputTokens")
_OUTPUT = ("completion_tokens", "output_tokens", "outputTokens")

#: What of a piece of a stream is text that the model wrote, whichever API it is.
_TEXTS = frozenset(
    {"text", "content", "refusal", "reasoning_content", "arguments", "thinking", "partial_json", "delta", "input"}
)
_MOST_NESTED = 12


def usage_in(usage: object) -> LlmUsage:
    """Read how many tokens a call took, under whichever of their names; empty for anything else."""
    return LlmUsage(input_tokens=_first(usage, _INPUT), output_tokens=_first(usage, _OUTPUT))


def _first(usage: object, names: tuple[str, ...]) -> int | None:
    for name in names:
        value = usage.get(name) if isinstance(usage, Mapping) else None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_TOKENS:
            return value
    return None


class StreamReader(ABC):
    """Reads a stream of events line by line, for what it says of its usage."""

    def __init__(self) -> None:
        #: Lines with data, and bytes of text in them: no more tokens than these have been seen.
        self.chunks = 0
        self.text_bytes = 0
        #: All that was said of the usage, as it was said.
        self.usage: Json = {}

    def line(self, line: bytes) -> None:
        """Take a line, without its end; no line raises an error."""
        if not line.startswith(b"data: ") or line.startswith(b"data: [DONE]"):
            self._other(line)
            return
        self.chunks += 1
        data = _object(line[6:])
        if data is not None:
            self.text_bytes += _text_bytes(data)
            self._data(data)

    def _other(self, line: bytes) -> None:  # noqa: B027, most formats say nothing there
        """Take a line without data."""

    @abstractmethod
    def _data(self, data: Json) -> None:
        """Take the data of a line."""

    def _said(self, usage: object) -> None:
        """Keep what is said of the usage; what is said last counts."""
        if isinstance(usage, dict):
            self.usage |= {name: value for name, value in usage.items() if value is not None}


class _OpenAIStream(StreamReader):
    def _data(self, data: Json) -> None:
        self._said(data.get("usage"))
        # The Responses API tells it in its last event, with the whole response.
        response = data.get("response")
        if isinstance(response, dict):
            self._said(response.get("usage"))


class _AnthropicStream(StreamReader):
    def __init__(self) -> None:
        super().__init__()
        self._event = b""

    def _other(self, line: bytes) -> None:
        if line.startswith(b"event: "):
            self._event = line[7:].strip()

    def _data(self, data: Json) -> None:
        if self._event == b"message_start":
            message = data.get("message")
            self._said(message.get("usage") if isinstance(message, dict) else None)
        elif self._event == b"message_delta":
            self._said(data.get("usage"))


class Format(ABC):
    """One of the two APIs."""

    #: Names of headers, in lower case, that it sets itself: an agent's are dropped.
    sets: frozenset[str] = frozenset()

    @abstractmethod
    def headers(self, api_key: str) -> list[tuple[str, str]]:
        """Return the headers that carry the credential."""

    def to_stream(self, path: str, body: Json) -> Json:
        """Return what is added to a body that asks for a stream."""
        return {}

    @abstractmethod
    def reader(self) -> StreamReader:
        """Return a reader of one stream."""

    @abstractmethod
    def error(self, status: int, message: str) -> Json:
        """Return an error as the API has it, so that its clients show what it says."""

    def event_of_error(self, status: int, message: str) -> bytes:
        """Return an error as the last event of a stream that has begun."""
        return b"data: " + json.dumps(self.error(status, message)).encode() + b"\n\n"


class _OpenAI(Format):
    def headers(self, api_key: str) -> list[tuple[str, str]]:
        return [("Authorization", f"Bearer {api_key}")]

    def to_stream(self, path: str, body: Json) -> Json:
        # The Responses API tells its usage unasked, and refuses this.
        if "stream_options" in body or path.rstrip("/").endswith("responses"):
            return {}
        return {"stream_options": {"include_usage": True}}

    def reader(self) -> StreamReader:
        return _OpenAIStream()

    def error(self, status: int, message: str) -> Json:
        kind = "insufficient_quota" if status == HTTPStatus.PAYMENT_REQUIRED else "proxy_error"
        return {"error": {"message": message, "type": kind, "param": None, "code": str(status)}}


#: What Anthropic calls errors (its API reference, "Errors").
_ANTHROPIC_ERRORS = {402: "billing_error", 413: "request_too_large", 504: "timeout_error"}


class _Anthropic(Format):
    sets = frozenset({"anthropic-version"})

    def headers(self, api_key: str) -> list[tuple[str, str]]:
        return [("x-api-key", api_key), ("anthropic-version", "2023-06-01")]

    def reader(self) -> StreamReader:
        return _AnthropicStream()

    def error(self, status: int, message: str) -> Json:
        return {"type": "error", "error": {"type": _ANTHROPIC_ERRORS.get(status, "api_error"), "message": message}}

    def event_of_error(self, status: int, message: str) -> bytes:
        return b"event: error\n" + super().event_of_error(status, message)


FORMATS: Mapping[LlmFormat, Format] = {"OpenAI": _OpenAI(), "Anthropic": _Anthropic()}


def usage_of(body: bytes) -> Json:
    """Return what an answer that is whole says of its usage; empty when that is nothing."""
    found = _object(body) or {}
    usage = found.get("usage")
    return usage if isinstance(usage, dict) else {}


def _object(text: bytes) -> Json | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text_bytes(data: Json) -> int:
    return sum(len(text.encode("utf-8", "replace")) for text in _texts(data, _MOST_NESTED))


def _texts(value: Any, depth: int) -> Iterator[str]:
    parts = value.items() if isinstance(value, dict) else ((None, each) for each in value)
    for name, part in parts:
        if isinstance(part, str):
            if name in _TEXTS:
                yield part
        elif isinstance(part, dict | list) and depth:
            yield from _texts(part, depth - 1)
