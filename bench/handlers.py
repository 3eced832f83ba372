"""CPU time of each operation with AWS answered from memory, beside a bare app that makes the same calls (by pyperf)."""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyperf
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.endpoint import Endpoint

from bench import recording
from bench.memory import ENVIRONMENT, event

ROOT = Path(__file__).parents[1]


#: How often each operation is timed, right after the bare app's. A machine has slow seconds: the ratios that count are
#: of what was timed next to each other.
ROUNDS = 7


@dataclass(frozen=True)
class HandlerTime:
    """Median CPU time of one operation, in ms, in the round of the median ratio."""

    name: str
    atoll_ms: float
    floor_ms: float

    @property
    def ratio(self) -> float:
        """What the operation takes, in times of the bare app's."""
        return self.atoll_ms / self.floor_ms


def measure() -> list[HandlerTime]:
    """Record the operations, play them in pyperf's processes, and return the medians."""
    with tempfile.TemporaryDirectory() as folder:
        tape, results = Path(folder, "tape.json"), [Path(folder, f"{number}.json") for number in range(ROUNDS)]
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT), "BENCH_TAPE": str(tape)}
        del environment["AWS_LAMBDA_FUNCTION_NAME"]
        keeping = ["--quiet", "--inherit-environ", ",".join(environment)]
        for arguments in (
            ["-m", "bench.recording", str(tape)],
            *(["-m", "bench.handlers", "-o", str(result), *keeping] for result in results),
        ):
            done = subprocess.run(
                [sys.executable, *arguments], cwd=ROOT, env=environment, check=False, capture_output=True, text=True
            )
            if done.returncode:
                raise RuntimeError(f"{' '.join(arguments[:2])}: {(done.stdout + done.stderr)[-1000:]}")
        rounds = [_times(pyperf.BenchmarkSuite.load(str(result))) for result in results]
    return [sorted(times, key=lambda time: time.ratio)[ROUNDS // 2] for times in zip(*rounds, strict=True)]


def _times(suite: pyperf.BenchmarkSuite) -> list[HandlerTime]:
    medians = {one.get_name(): one.median() * 1000 for one in suite}
    names = [name.removeprefix("atoll: ") for name in medians if name.startswith("atoll: ")]
    return [HandlerTime(name, medians[f"atoll: {name}"], medians[f"floor: {name}"]) for name in names]


def main() -> None:
    """Be one of pyperf's processes."""
    runner = pyperf.Runner(processes=1, values=3, warmups=1, loops=20)
    for recorded in recording.read(Path(os.environ["BENCH_TAPE"])):
        for side in ("floor", "atoll"):
            runner.bench_time_func(f"{side}: {recorded.name}", _timed, recorded, side)


def _timed(loops: int, recorded: recording.Recorded, side: str) -> float:
    operation = _operation(recorded, side)
    operation()
    started = time.process_time()
    for _ in range(loops):
        operation()
    return time.process_time() - started


def _operation(recorded: recording.Recorded, side: str) -> Callable[[], None]:
    answers = itertools.cycle([body.encode() for _, _, body in recorded.calls])
    headers: Any = {"Content-Type": "application/x-amz-json-1.0"}  # any mapping will do; the stubs want more

    def send(_endpoint: Any, request: AWSPreparedRequest) -> AWSResponse:
        response = AWSResponse(request.url, 200, headers, None)
        response._content = next(answers)  # type: ignore[attr-defined]  # private: what is read of the network
        return response

    Endpoint._send = send  # type: ignore[attr-defined]  # private: the way to the network
    if side == "atoll":
        from app import app
        from bench.scene import AGENT_KEY, KEY
        from chalicelib import services
        from chalicelib.domain import api_keys
        from chalicelib.store.api_keys import ApiKeyRecord
        from chalicelib.stores import current

        stores = current()
        # The keys are known, as they are in all requests but one a minute.
        key = ApiKeyRecord(key_hash=api_keys.hash_of(KEY), name="bench", created_at_ms=0, namespaces=["*"])
        services.current().agent_keys.known["AWSCURRENT"] = stores.clock.now_ms(), AGENT_KEY
        stores.known_keys[key.key_hash] = (stores.clock.now_ms() + 3_600_000, key)
        return lambda: recording.play(app, recorded)
    return lambda: _play_on_floor(recorded)


def _play_on_floor(recorded: recording.Recorded) -> None:
    from bench import floor

    floor.CALLS[recorded.name] = [(method, params) for method, params, _ in recorded.calls]
    body = recorded.event["body"]
    request = event("POST", f"/calls/{recorded.name}", "/calls/{name}", name=recorded.name)
    request |= {"body": body, "isBase64Encoded": recorded.event["isBase64Encoded"]}
    answer = floor.app(request, None)
    if answer["statusCode"] != 200:
        raise RuntimeError(json.dumps(answer))


if __name__ == "__main__":
    main()
