"""Which mutants are tried: a random sample of the places that cosmic-ray knows to change, one change each.

Places are drawn, not changes: an arithmetic operator can be changed in ten ways, a condition in one, and both are one
place where a person can go wrong. Annotations are left out, since changing them changes nothing that runs.
"""

import ast
import json
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CONFIG = """
[cosmic-ray]
module-path = {paths}
timeout = 60.0
excluded-modules = []
test-command = "true"
[cosmic-ray.distributor]
name = "local"
"""


@dataclass(frozen=True)
class Mutant:
    """One change of one place; ``occurrence`` is cosmic-ray's number of the place for this operator."""

    path: str
    operator: str
    occurrence: int
    line: int
    column: int
    function: str | None

    def __str__(self) -> str:
        return f"{self.path}:{self.line} {self.operator.removeprefix('core/')}"


def every(cosmic_ray: Path, tree: Path, paths: list[str]) -> list[Mutant]:
    """Return all mutants of these files and folders of a source tree, in a fixed order."""
    config, session = tree / "mutants.toml", tree / "mutants.sqlite"
    config.write_text(_CONFIG.format(paths=json.dumps(paths)))
    subprocess.run([cosmic_ray, "init", config, session], cwd=tree, check=True, capture_output=True)
    dumped = subprocess.run([cosmic_ray, "dump", session], cwd=tree, check=True, capture_output=True, text=True).stdout
    found = []
    for line in dumped.splitlines():
        (made,) = json.loads(line)[0]["mutations"]
        row, column = made["start_pos"]
        found.append(
            Mutant(made["module_path"], made["operator_name"], made["occurrence"], row, column, made["definition_name"])
        )
    return sorted(found, key=lambda mutant: (mutant.path, mutant.line, mutant.column, mutant.operator))


def drawn(mutants: list[Mutant], tree: Path, seed: int) -> Iterator[Mutant]:
    """Yield one mutant of each place, places in random order."""
    places: dict[tuple[str, int, int], list[Mutant]] = {}
    for mutant in mutants:
        places.setdefault((mutant.path, mutant.line, mutant.column), []).append(mutant)
    unread = {path: _annotated(tree / path) for path in sorted({mutant.path for mutant in mutants})}
    dice = random.Random(seed)
    order = sorted(places)
    dice.shuffle(order)
    for path, line, column in order:
        if not any(start <= (line, column) < end for start, end in unread[path]):
            yield dice.choice(places[path, line, column])


def _annotated(path: Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return from where to where a file has annotations, and imports that only type checkers see."""
    spans = []
    for node in ast.walk(ast.parse(path.read_text())):
        skipped: list[ast.expr | ast.stmt | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            skipped = [node.returns]
        elif isinstance(node, ast.arg | ast.AnnAssign):
            skipped = [node.annotation]
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped = [node]
        spans += [
            ((part.lineno, part.col_offset), (part.end_lineno or part.lineno, part.end_col_offset or 0))
            for part in skipped
            if part is not None
        ]
    return spans
