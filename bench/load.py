"""The load generator: a process of its own, so that it does not compete for the server's interpreter.

It reads a plan from its input (JSON: ``host``, ``port``, ``connections``, ``seconds``, ``requests``) and writes how
many requests a second were answered, and their latencies. Each connection is kept and asks again when it is answered.
"""

import asyncio
import json
import statistics
import sys
import time
from typing import Any


async def _connection(plan: dict[str, Any], number: int, until: float, taken: list[float], wrong: list[str]) -> None:
    requests = [request.encode() for request in plan["requests"]]
    turn = number
    while time.perf_counter() < until:
        reader, writer = await asyncio.open_connection(plan["host"], plan["port"])
        try:
            while time.perf_counter() < until:
                started = time.perf_counter()
                writer.write(requests[turn % len(requests)])
                turn += plan["connections"]
                fault = await _answer(reader)
                taken.append(time.perf_counter() - started)
                if fault:
                    wrong.append(fault)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            wrong.append(repr(error))
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> str | None:
    """Read an answer; return what is wrong with it."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    )
    body = await reader.readexactly(length)
    return None if b" 200 " in head[:16] and b'"isError":true' not in body else f"{head[:40]!r} {body[:200]!r}"


async def _run(plan: dict[str, Any]) -> dict[str, Any]:
    taken: list[float] = []
    wrong: list[str] = []
    started = time.perf_counter()
    until = started + plan["seconds"]
    await asyncio.gather(*(_connection(plan, number, until, taken, wrong) for number in range(plan["connections"])))
    return {
        "per_s": len(taken) / (time.perf_counter() - started),
        "median_ms": statistics.median(taken) * 1000,
        "p99_ms": sorted(taken)[int(len(taken) * 0.99)] * 1000,
        "wrong": len(wrong),
        "example": wrong[:1],
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_run(json.load(sys.stdin)))))
