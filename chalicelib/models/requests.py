"""What an agent asks of a model's provider, checked and made ready to be sent (C.3, "Upstream request")."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from chalicelib.domain.errors import BadRequest
from chalicelib.models.formats import FORMATS, Format
from chalicelib.wire import strict_json
from chalicelib.wire.llm_proxy import LlmProvider, ResolvedProxy

Headers = Sequence[tuple[str, str]]

#: Headers of one connection (RFC 9110, section 7.6.1), and those that Coral counts among them.
HOP_BY_HOP = frozenset(
    {
        *("connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-authenticate", "proxy-authorization"),
        *("te", "trailer", "proxy-connection"),
    }
)
#: Headers of an agent that are not for its provider: credentials, and what a client of HTTP sets by itself.
_NOT_SENT = HOP_BY_HOP | {
    *("authorization", "x-api-key", "host", "content-length", "accept-encoding", "cookie", "expect"),
}

#: The ends of the paths at which a model works: a body that names none gets the resolved one.
_MODEL_PATHS = (
    *("chat/completions", "completions", "responses", "embeddings", "moderations"),
    *("messages", "messages/count_tokens", "complete"),
)
#: Parts of paths behind which models are named elsewhere than in the body's ``model``: in the path, in what a batch
#: holds, in what was stored before.
_MODELS_ELSEWHERE = frozenset({"batches", "runs", "deployments", "engines", "model"})


@dataclasses.dataclass(frozen=True)
class ModelRequest:
    """What an agent asks of one of its proxies."""

    method: str
    #: What comes behind the proxy's name, without the slash before it, encoded as it came.
    path: str = ""
    query: str = ""
    headers: Headers = ()
    body: bytes = b""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A request as a provider gets it."""

    method: str
    url: str
    #: Decoded, without the slash before it.
    path: str
    #: Without those that say who calls.
    headers: Headers
    #: What is sent, and what that says; ``None`` of a GET.
    body: bytes | None
    json: dict[str, Any] | None
    streams: bool
    format: Format


def prepared(request: ModelRequest, proxy: ResolvedProxy, provider: LlmProvider) -> Prepared:
    """Make a request ready: its body names the model that was resolved, and asks for the usage of a stream.

    A body that is right already is sent byte by byte as it came. Raises `BadRequest` for a path or a body that cannot
    be sent, and where the model cannot be enforced.
    """
    spoken = FORMATS[proxy.format]
    path = _path_of(request)
    sent, said = (None, None) if request.method == "GET" else _body_of(request.body, path, proxy, spoken)
    url = provider.base_url if not request.path else f"{provider.base_url.rstrip('/')}/{request.path}"
    return Prepared(
        method=request.method,
        url=f"{url}?{request.query}" if request.query else url,
        path=path,
        headers=_headers_of(request.headers, spoken),
        body=sent,
        json=said,
        streams=said is not None and said.get("stream") is True,
        format=spoken,
    )


def _path_of(request: ModelRequest) -> str:
    parts = unquote(request.path).split("/")
    if {".", ".."} & set(parts):
        raise BadRequest("the path must not have the parts . and ..")
    if any(character in request.path for character in "?#\\") or not request.path.isprintable():
        raise BadRequest("the path has characters that none can have")
    if request.method == "POST":
        indirect = next((part for part in parts if part in _MODELS_ELSEWHERE or ":" in part), None)
        if indirect is not None:
            raise BadRequest(
                f"{indirect[:80]!r} in the path: its models are not named in the body's model, where they are enforced"
            )
    return "/".join(parts).strip("/")


def _body_of(raw: bytes, path: str, proxy: ResolvedProxy, spoken: Format) -> tuple[bytes, dict[str, Any]]:
    try:
        said = strict_json.loads(raw)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON of one meaning: {error}") from error
    if not isinstance(said, dict):
        raise BadRequest("the body must be a JSON object: its model is enforced")
    changes: dict[str, Any] = {}
    if "model" in said or any(path == end or path.endswith(f"/{end}") for end in _MODEL_PATHS):
        changes["model"] = proxy.model_name
    if said.get("stream") is True:
        changes |= spoken.to_stream(path, said)
    if all(name in said and said[name] == value for name, value in changes.items()):
        return raw, said
    said = {**said, **changes}
    try:
        return json.dumps(said, separators=(",", ":"), ensure_ascii=False).encode(), said
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can say
        return json.dumps(said, separators=(",", ":")).encode(), said


def _headers_of(headers: Headers, spoken: Format) -> Headers:
    # A header that Connection names is one of the connection, too.
    named = {
        part.strip().lower() for name, value in headers if name.lower() == "connection" for part in value.split(",")
    }
    dropped = _NOT_SENT | spoken.sets | named
    return [(name, value) for name, value in headers if name.lower() not in dropped]
