"""A fresh process that imports one app and answers a first GET: run by `bench.cold_start`, which takes its CPU time."""

import sys

from bench import memory


def main(which: str) -> None:
    """Import ``atoll``, the MCP endpoint (``mcp``) or the ``floor`` and answer one request."""
    memory.answer_from_memory(
        {
            "GetItem": memory.get_item,
            "BatchGetItem": memory.batch_get_item,
            "GetSecretValue": lambda _: {"SecretString": "key"},
        }
    )
    if which == "floor":
        from bench.floor import app

        event = memory.event("GET", f"/item/{memory.SESSION}", "/item/{key}", key=memory.SESSION)
    elif which == "mcp":
        import json

        from chalicelib.domain import agent_secrets
        from chalicelib.workers.mcp import mcp as app

        secret = agent_secrets.mint("key", memory.NAMESPACE, memory.SESSION, "agent-0")
        memory.add_agent("agent-0", agent_secrets.hash_of(secret))
        event = {
            "rawPath": f"/mcp/v1/{secret}/mcp",
            "requestContext": {"http": {"method": "POST"}},
            "headers": {"content-type": "application/json", "mcp-protocol-version": "2025-06-18"},
            "body": json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
        }
    else:
        from app import app

        where = {"namespace": memory.NAMESPACE, "sessionId": memory.SESSION}
        resource = "/api/v1/local/session/{namespace}/{sessionId}"
        event = memory.event("GET", resource.format(**where), resource, **where)
    answer = app(event, None)
    if answer["statusCode"] != 200:
        raise SystemExit(f"{which} answered {answer}")


if __name__ == "__main__":
    main(sys.argv[1])
