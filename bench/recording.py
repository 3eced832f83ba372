"""Operations recorded on moto, to be played again with AWS answered from memory: by Atoll, and by the floor."""

import base64
import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.calls import NAMESPACE, SESSION
from bench.memory import ENVIRONMENT, event
from bench.scene import KEY, Scene, scene, session


@dataclass
class Recorded:
    """One operation: how it is asked for, and each AWS call it made with the answer."""

    name: str
    #: The event of API Gateway or, for the MCP endpoint, of its Function URL.
    event: dict[str, Any]
    #: ``(method of the client, parameters, body of the answer)``.
    calls: list[tuple[str, dict[str, Any], str]] = field(default_factory=list)


def record() -> list[Recorded]:
    """Carry out each operation once on moto."""
    with scene() as here:
        tape = _Tape(here)
        here.rest("GET", "/api/v1/local/namespace")
        session_id = here.create()
        secrets = here.admit(session_id)
        one, two, _ = secrets.values()
        names = list(secrets)
        for secret in secrets.values():
            here.mcp(secret, "tools/list")
        threads = here.tool(one, "coral_create_thread", threadName="bench", participantNames=names[1:])
        thread = threads["thread"]["id"]
        where = {"namespace": "bench", "sessionId": session_id}
        send = {"threadId": thread, "content": "x" * 300, "mentions": [names[1]]}
        wait = {"currentUnixTime": here.clock.now_ms() - 5_000, "maxWaitMs": 25_000}
        return [
            tape.of("create a session of 3 agents", _rest("POST", "/api/v1/local/session", session())),
            tape.of("state", _rest("GET", SESSION, **where)),
            tape.of("list a page of sessions", _rest("GET", NAMESPACE, namespace="bench")),
            tape.of("MCP call without a thread", _door(one, "tools/list")),
            tape.of("send a message", _door(one, "tools/call", name="coral_send_message", arguments=send)),
            tape.of(
                "a wait that is answered at once",
                _door(two, "tools/call", name="coral_wait_for_mention", arguments=wait),
            ),
            tape.of("close", _rest("DELETE", SESSION, **where)),
        ]


def play(app: Any, recorded: Recorded) -> None:
    """Carry out an operation, whatever answers its AWS calls."""
    if "rawPath" in recorded.event:
        from chalicelib.workers.mcp import mcp

        answer = mcp(recorded.event, None)
    else:
        answer = app(recorded.event, None)
    if answer["statusCode"] != 200 or '"isError":true' in answer["body"]:
        raise RuntimeError(f"{recorded.name}: {answer}")


class _Tape:
    def __init__(self, here: Scene) -> None:
        self._here = here
        self._running: Recorded | None = None
        events = here.services.dynamodb.meta.events
        events.register("before-parameter-build.dynamodb", self._asked)
        events.register("after-call.dynamodb", self._answered)

    def of(self, name: str, request: dict[str, Any]) -> Recorded:
        """Carry out an operation and return what there was to record."""
        recorded = self._running = Recorded(name, request)
        play(self._here.app, recorded)
        self._running = None
        return recorded

    def _asked(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["asked"] = params

    def _answered(self, http_response: Any, model: Any, context: dict[str, Any], **_: Any) -> None:
        if self._running is not None:
            method = "".join("_" + letter.lower() if letter.isupper() else letter for letter in model.name)
            self._running.calls.append((method.lstrip("_"), context["asked"], http_response.text))


def _rest(method: str, resource: str, body: Any = None, **parameters: str) -> dict[str, Any]:
    request = event(method, resource.format(**parameters), resource, **parameters)
    request["body"] = json.dumps(body) if body is not None else None
    request["headers"]["authorization"] = f"Bearer {KEY}"
    request["multiValueHeaders"]["authorization"] = [f"Bearer {KEY}"]
    return request


def _door(secret: str, method: str, **params: Any) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return {
        "rawPath": f"/mcp/v1/{secret}/mcp",
        "requestContext": {"http": {"method": "POST"}},
        "headers": {
            "content-type": "application/json",
            "accept": "application/json",
            "mcp-protocol-version": "2025-06-18",
        },
        "body": base64.b64encode(json.dumps(message).encode()).decode(),
        "isBase64Encoded": True,
    }


def write(path: Path) -> None:
    """Record, and keep it in a file."""
    path.write_text(json.dumps([vars(recorded) for recorded in record()], default=sorted))


def read(path: Path) -> list[Recorded]:
    """Read what `write` wrote."""
    return [Recorded(**recorded) for recorded in json.loads(path.read_text())]


if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)
    write(Path(sys.argv[1]))
