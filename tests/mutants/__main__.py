"""`make mutants`: how many of a random sample of mutants of `chalicelib` the tests notice.

    SAMPLE   how many mutants (60)
    MINUTES  how long at most (15); what is not tried by then is not counted
    SEED     which sample; the same seed draws the same places from the same sources
    JOBS     how many at once (2)
    ONLY     files or folders to change (chalicelib)
    TESTS    quick tests to try, instead of those of `covering.QUICK`

Each mutant lives in a copy of the sources and meets its tests in a process group of its own, which is ended when it
takes too long.
"""

import ast
import contextlib
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests import environments
from tests.mutants import covering, sample

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "mutants"
#: Beyond what its tests usually take: starting Python, and a machine that is busy.
GRACE_S = 60
SLOW_LIMIT_S = 180

CAUGHT, SURVIVED, ENDLESS, LEFT = "caught", "survived", "caught: does not end", "not tried"


def copied(folder: Path) -> Path:
    """Copy the sources as they are, uncommitted changes too."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def passes(tree: Path, tests: list[str], limit_s: float) -> bool | None:
    """Run tests in a tree up to the first that fails; ``None`` when they do not end in time."""
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-p", "no:randomly", *tests]
    environment = {**os.environ, "HYPOTHESIS_PROFILE": "quick", "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, cwd=tree, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as running:
        try:
            return running.wait(limit_s) == 0
        except subprocess.TimeoutExpired:
            return None
        finally:
            with contextlib.suppress(ProcessLookupError):  # what it has started, such as agents, has its group
                os.killpg(running.pid, signal.SIGKILL)


def judge(tree: Path, mutant: sample.Mutant, known: covering.Covering, deadline_s: float) -> str:
    """Return what becomes of a mutant whose change is in a tree."""
    tests = known.tests(mutant.path, mutant.line)
    left_s = deadline_s - time.monotonic()
    limit_s = 3 * known.took_s(tests) + GRACE_S
    if left_s < 5:
        return LEFT
    passed = passes(tree, tests, min(limit_s, left_s)) if tests else True
    if passed is None:
        return ENDLESS if limit_s < left_s else LEFT
    if not passed:
        return CAUGHT
    left_s = deadline_s - time.monotonic()
    if mutant.path.split("/")[1] in covering.SLOW_FOR and left_s > SLOW_LIMIT_S:
        return SURVIVED if passes(tree, covering.SLOW, SLOW_LIMIT_S) is not False else CAUGHT
    return SURVIVED


def tried(
    cosmic_ray: Path, tree: Path, mutant: sample.Mutant, known: covering.Covering, deadline_s: float
) -> str | None:
    """Make a change, judge it, and undo it; ``None`` for one that changes nothing or is not valid Python."""
    path = tree / mutant.path
    original = path.read_text()
    try:
        subprocess.run(
            [cosmic_ray, "apply", mutant.path, mutant.operator, str(mutant.occurrence)],
            cwd=tree,
            check=True,
            capture_output=True,
        )
        with contextlib.suppress(SyntaxError):
            if ast.dump(ast.parse(path.read_text())) != ast.dump(ast.parse(original)):
                return judge(tree, mutant, known, deadline_s)
        return None
    finally:
        path.write_text(original)


def main() -> int:
    """Try a sample, print the results, and return 0: it measures."""
    wanted, minutes, jobs = (
        int(os.environ.get(name) or default) for name, default in (("SAMPLE", 60), ("MINUTES", 15), ("JOBS", 2))
    )
    seed = int(os.environ.get("SEED") or random.randrange(10_000))
    only = (os.environ.get("ONLY") or "chalicelib").split()
    tests = (os.environ.get("TESTS") or "").split() or covering.QUICK
    console = Console(width=None if sys.stdout.isatty() else 150)
    cosmic_ray = environments.programs("mutants", Path(__file__).parent / "requirements.txt") / "cosmic-ray"
    outcomes: dict[sample.Mutant, str] = {}
    with tempfile.TemporaryDirectory(prefix="atoll-mutants-") as folder:
        trees: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(jobs):
            trees.put(copied(Path(folder) / str(number)))
        first = Path(folder) / "0"
        known = covering.recorded(first, CACHE, tests)
        places = list(sample.drawn(sample.every(cosmic_ray, first, only), first, seed))
        mutants = iter(places)
        if passes(first, known.tests(places[0].path, places[0].line)[:20], 300) is not True:
            raise SystemExit("the tests fail without any mutant")
        under_way: list[sample.Mutant] = []
        deadline_s = time.monotonic() + 60 * minutes  # from here on: what is prepared is kept for the next run

        def take() -> None:
            tree = trees.get()
            while len(outcomes) + len(under_way) < wanted and time.monotonic() < deadline_s:
                mutant = next(mutants, None)
                if mutant is None:
                    break
                under_way.append(mutant)
                outcome = tried(cosmic_ray, tree, mutant, known, deadline_s)
                under_way.remove(mutant)
                if outcome not in (None, LEFT):
                    outcomes[mutant] = str(outcome)
                    console.print(f"[dim]{len(outcomes)}/{wanted}[/] {mutant}: {outcome}", highlight=False)

        with ThreadPoolExecutor(jobs) as pool:
            for job in [pool.submit(take) for _ in range(jobs)]:
                job.result()
    report(console, outcomes, seed)
    return 0


def report(console: Console, outcomes: dict[sample.Mutant, str], seed: int) -> None:
    """Print caught and survived by package, those that survived, and the score."""
    table = Table(title=f"Mutants, seed {seed}", title_justify="left")
    for column in ("room", "tried", "caught"):
        table.add_column(column)
    rooms = Counter(mutant.path.split("/")[1] for mutant in outcomes)
    caught = Counter(mutant.path.split("/")[1] for mutant, outcome in outcomes.items() if outcome != SURVIVED)
    for room in sorted(rooms):
        table.add_row(room, str(rooms[room]), str(caught[room]))
    console.print(table)
    for mutant, outcome in outcomes.items():
        if outcome == SURVIVED:
            console.print(f"survived: {mutant} in {mutant.function or 'the module'}", highlight=False)
    if outcomes:
        share = caught.total() / len(outcomes)
        console.print(f"{caught.total()} of {len(outcomes)} caught: {share:.0%} (seed {seed})")


if __name__ == "__main__":
    sys.exit(main())
