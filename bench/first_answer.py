"""A fresh process that imports one app and answers a first GET: run by `bench.cold_start`, which takes its CPU time."""

import sys

from bench import memory


def main(which: str) -> None:
    """Import ``atoll`` or ``floor`` and answer one request."""
    memory.answer_from_memory({"GetItem": memory.get_item, "BatchGetItem": memory.batch_get_item})
    if which == "floor":
        from bench.floor import app

        event = memory.event("GET", f"/item/{memory.SESSION}", "/item/{key}", key=memory.SESSION)
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
