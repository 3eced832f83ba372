"""A function imports only what it needs, because every import lengthens a cold start."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: What costs tens of milliseconds, and is needed by some functions alone.
EXPENSIVE = {
    "boto3",  # botocore's clients are the same, without its resources
    "aws_lambda_powertools",
    "mcp_types",
    "chalicelib.wire.options",
    "chalicelib.wire.agent_file",
    "chalicelib.wire.events",
    "cryptography",
}


def run(program: str) -> str:
    """Run a program in a fresh process that is a function's, and return what it prints."""
    environment = {**os.environ, "AWS_LAMBDA_FUNCTION_NAME": "atoll-test", "AWS_DEFAULT_REGION": "us-east-1"}
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize(
    ("module", "needed"),
    [
        ("app", set()),
        ("chalicelib.workers.lifecycle", set()),
        ("chalicelib.workers.changes", set()),
        ("chalicelib.workers.tasks", set()),
        ("chalicelib.workers.deliveries", set()),
        ("chalicelib.workers.mcp", set()),
        ("chalicelib.workers.models", set()),
        ("chalicelib.models.endpoint", {"chalicelib.wire.events"}),
        ("chalicelib.mcp.endpoint", {"mcp_types", "chalicelib.wire.events"}),
    ],
)
def test_a_function_starts_without_what_only_others_need(module: str, needed: set[str]) -> None:
    program = f"""
from chalicelib import cold_start
cold_start.prepare()
import sys, {module}
print(*(name for name, each in sys.modules.items() if type(each).__name__ != "_LazyModule"))  # that is not loaded yet
"""
    assert set(run(program).split()) & EXPENSIVE <= needed, f"{module} loads too much: see chalicelib/cold_start.py"


def test_a_module_that_is_loaded_on_use_is_the_module() -> None:
    program = """
from chalicelib import cold_start
cold_start.prepare()
import sys
from chalicelib.domain import registry as before
assert "chalicelib.domain.agent_files" not in sys.modules
assert before.check_sources([]) is None
from chalicelib.domain import registry as after
assert sys.modules["chalicelib.domain.registry"] is after is before
print("as it should be")
"""
    assert run(program) == "as it should be\n"


def test_importing_the_library_changes_nothing_in_the_process() -> None:
    program = """
import gc, os
before = gc.get_threshold(), dict(os.environ)
import chalicelib, chalicelib.services
assert (gc.get_threshold(), dict(os.environ)) == before
print("as it was")
"""
    assert run(program) == "as it was\n"
