"""Which tests run which lines, so that a mutant meets only the tests that can notice it, quickest first."""

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

from coverage import CoverageData

#: What is quick and runs in one process. The fault harness forks at every call: it comes second, where it can help.
QUICK = [
    "tests/unit",
    "tests/bench/test_calls.py",
    "tests/integration/api",
    "tests/integration/mcp",
    "tests/integration/registry",
    "tests/integration/webhooks",
    "tests/integration/test_agent_starts.py",
    "tests/integration/test_known_keys.py",
    "tests/integration/test_lifecycle.py",
    "tests/faults/test_ends.py",
    "tests/faults/test_time.py",
]
#: The slow tests, and the packages whose mutants meet them when no quick test has noticed them.
SLOW = ["tests/faults/test_reconciler.py", "tests/faults/test_duplicates.py", "tests/faults/test_races.py"]
SLOW_FOR = ("domain", "reactions", "store", "aws", "workers")

#: Tests of one mutant at most; a line that more of them run is run by one of the first.
MOST = 150


class Covering:
    """What a run of the quick tests has recorded."""

    def __init__(self, data: CoverageData, durations: dict[str, float], root: Path) -> None:
        self._data, self._durations, self._root = data, durations, root

    def tests(self, path: str, line: int) -> list[str]:
        """Return the tests that run a line, quickest first.

        A line that runs when its module is imported is no test's: then all are meant that run anything of the module.
        """
        by_line = self._data.contexts_by_lineno(str(self._root / path))
        contexts = [context for context in by_line.get(line, []) if context]
        if not contexts:
            counted = Counter(context for found in by_line.values() for context in found if context)
            contexts = [context for context, _ in counted.most_common(MOST)]
        # With xdist's groups a test's name ends with that of its group.
        names = {re.sub(r"@[\w-]+$", "", context.partition("|")[0]) for context in contexts}
        return sorted(names, key=lambda name: self._durations.get(name, 0.0))[:MOST]

    def took_s(self, tests: list[str]) -> float:
        """Return how long these tests took together."""
        return sum(self._durations.get(test, 0.1) for test in tests)


def recorded(tree: Path, cache: Path, tests: list[str]) -> Covering:
    """Run the quick tests once in a copy of the sources, or take what is kept of an earlier run of the same sources."""
    key = hashlib.sha256(" ".join(tests).encode())
    for path in sorted([*tree.glob("chalicelib/**/*.py"), *tree.glob("tests/**/*.py")]):
        key.update(path.read_bytes())
    kept = cache / f"{key.hexdigest()[:16]}.coverage"
    log = kept.with_suffix(".durations")
    if not log.exists():
        command = [sys.executable, "-m", "pytest", *tests, "-n", "2", "--dist", "loadgroup", "-p", "no:cacheprovider"]
        command += ["--cov=chalicelib", "--cov-context=test", "--cov-report=", "--durations=0", "-vv"]
        environment = {**os.environ, "HYPOTHESIS_PROFILE": "quick"}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"The tests fail without any mutant:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
        cache.mkdir(parents=True, exist_ok=True)
        (tree / ".coverage").replace(kept)
        log.write_text(f"{tree}\n" + done.stdout)
    data = CoverageData(str(kept))
    data.read()
    root, _, text = log.read_text().partition("\n")
    durations: defaultdict[str, float] = defaultdict(float)
    for seconds, test in re.findall(r"^ *(\d+\.\d+)s (?:call|setup|teardown) +(.+?)(?:@[\w-]+)?$", text, re.MULTILINE):
        durations[test] += float(seconds)
    return Covering(data, dict(durations), Path(root))
