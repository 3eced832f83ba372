"""Schemathesis drives the local stack by Atoll's own OpenAPI document, in all its phases and with all its checks.

It makes the same requests each time, so that this test fails for what has changed; SCHEMATHESIS_SEED=random looks
for inputs without a test of their own.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.stack import LocalStack

pytestmark = pytest.mark.xdist_group("contract")

HERE = Path(__file__).parent
ECHO = HERE.parents[1] / "agents" / "echo"


@pytest.fixture(scope="module")
def echoing(stack: LocalStack) -> LocalStack:
    """The stack with the agent that the document's example names."""
    if ("echo", "1.0.0") not in stack.agents:
        stack.register(ECHO)
    return stack


def test_nothing_that_fits_or_breaks_the_document_breaks_atoll(echoing: LocalStack, tmp_path: Path) -> None:
    seed = [] if os.environ.get("SCHEMATHESIS_SEED") == "random" else ["--generation-deterministic"]
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(HERE / "schemathesis.toml")),
        *("run", f"{echoing.url}/api_v1.json", "--url", echoing.url),
        *("--header", f"Authorization: Bearer {echoing.key}"),
        *("--max-time", "25", *seed),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert done.returncode == 0, "\n".join(line[:300] for line in done.stdout.splitlines()[-200:])
    cases = re.search(r"(\d+) generated", done.stdout)
    assert cases is not None, done.stdout[-2000:]
    assert int(cases[1]) > 100  # what a busy machine manages in the limited time; an idle one makes 1,600
