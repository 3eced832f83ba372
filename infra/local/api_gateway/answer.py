"""The answer to a request: status, headers and body."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True)
class Answer:
    """A status, headers (one value or a list of them by name) and a body."""

    status: int
    content: bytes = b""
    headers: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def message(cls, status: int, text: str, headers: Mapping[str, Any] | None = None) -> Self:
        """Return an answer in the form of API Gateway's own."""
        return cls(status, json.dumps({"message": text}).encode(), headers or {})

    def raw_headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers as they are sent, with the type, JSON by default, and the length of the body."""
        headers = [
            (name.encode("latin-1"), str(value).encode("latin-1"))
            for name, values in self.headers.items()
            if name.lower() != "content-length"
            for value in (values if isinstance(values, list) else [values])
        ]
        if not any(name.lower() == b"content-type" for name, _ in headers):
            headers.append((b"Content-Type", b"application/json"))
        return [*headers, (b"Content-Length", str(len(self.content)).encode())]
