"""The README's first session, run as printed: its commands by a shell, its answers compared but for ids and times."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.stack import LocalStack

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30
ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def printed_steps() -> list[tuple[str, Any]]:
    """The commands of the README's session, each with the answer that is printed under it."""
    section = (ROOT / "README.md").read_text().split("## A first session")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n([^`]*)```\n```json\n(.*?)```", section, re.DOTALL)
    return [(command, json.loads(answer)) for command, answer in blocks]


def without_ids_and_times(answer: Any) -> str:
    """An answer with the places of ids and times, but not their values."""
    return TIME.sub("<time>", ID.sub("<id>", json.dumps(answer, sort_keys=True)))


def run(script: str, variables: dict[str, str], left: Path) -> str:
    """What a shell prints that has these variables; those that it leaves to the next one take their place."""
    command = ["sh", "-c", f"set -a\n{script}\nenv -0 >{left}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables, timeout=DEADLINE_S)
    for entry in filter(None, left.read_text().split("\0")):
        name, _, variables[name] = entry.partition("=")
    return done.stdout


@pytest.fixture
def url() -> Iterator[str]:
    with LocalStack() as stack:
        yield stack.url


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
@pytest.mark.xdist_group("agents")
def test_the_first_session_works_as_printed(url: str, tmp_path: Path) -> None:
    steps = printed_steps()
    assert len(steps) == 3
    variables = dict(os.environ)

    for command, printed in steps:
        deadline = time.monotonic() + DEADLINE_S
        while True:
            answer = json.loads(run(command.replace("http://localhost:5555", url), variables, tmp_path / "variables"))
            if without_ids_and_times(answer) == without_ids_and_times(printed) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        assert without_ids_and_times(answer) == without_ids_and_times(printed)
