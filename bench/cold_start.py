"""Cold start: CPU time and peak memory of a fresh process up to its first answer, Atoll's beside the floor's."""

import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.memory import ENVIRONMENT

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class ColdStart:
    """What one process took."""

    cpu_ms: float
    peak_mib: float


def once(which: str) -> ColdStart:
    """Start one process and wait for its end."""
    arguments = [sys.executable, "-m", "bench.first_answer", which]
    process = os.posix_spawn(sys.executable, arguments, {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(ROOT)})
    _, status, used = os.wait4(process, 0)
    if status:
        raise RuntimeError(f"the first answer of {which} failed")
    return ColdStart((used.ru_utime + used.ru_stime) * 1000, used.ru_maxrss / 1024)


def measure(runs: int = 15) -> dict[str, ColdStart]:
    """Start each by turns: the floor, the REST API, the MCP endpoint, and return the medians."""
    os.chdir(ROOT)
    taken: dict[str, list[ColdStart]] = {"floor": [], "atoll": [], "mcp": []}
    for _ in range(runs):
        for which, all_runs in taken.items():
            all_runs.append(once(which))
    return {
        which: ColdStart(
            statistics.median(run.cpu_ms for run in all_runs), statistics.median(run.peak_mib for run in all_runs)
        )
        for which, all_runs in taken.items()
    }


if __name__ == "__main__":
    found = measure(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
    print(found)
    print(
        "cpu",
        found["atoll"].cpu_ms / found["floor"].cpu_ms,
        "memory",
        found["atoll"].peak_mib / found["floor"].peak_mib,
    )
