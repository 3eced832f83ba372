"""What is not needed by a function is not imported by it: every import is somebody's cold start."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

#: What costs tens of milliseconds, and who alone needs it.
DEAR = {
    "boto3",  # botocore's clients are the same, without its resources
    "aws_lambda_powertools",
    "mcp_types",
    "chalicelib.wire.options",
    "chalicelib.wire.registry",
    "chalicelib.wire.events",
    "chalicelib.domain.webhooks",
    "standardwebhooks",
}


def loaded(*modules: str) -> set[str]:
    """Return what a fresh process has loaded after importing these modules."""
    program = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "needed"),
    [
        ("app", set()),
        ("chalicelib.workers.lifecycle", set()),
        ("chalicelib.workers.changes", set()),
        ("chalicelib.workers.tasks", set()),
        ("chalicelib.workers.deliveries", set()),
        ("chalicelib.workers.mcp", set()),
        ("chalicelib.mcp.endpoint", {"mcp_types", "chalicelib.wire.events"}),
    ],
)
def test_a_function_starts_without_what_only_others_need(module: str, needed: set[str]) -> None:
    assert loaded(module) & DEAR <= needed, f"{module} loads too much: see chalicelib/__init__.py"


def test_a_module_that_loads_on_use_is_the_module() -> None:
    program = """
from chalicelib.domain import registry as before
import sys
assert "chalicelib.domain.registry" not in sys.modules
assert before.FILE == "coral-agent.toml"
from chalicelib.domain import registry as after
assert sys.modules["chalicelib.domain.registry"] is after
before.FILE = "other"
assert after.FILE == "other"
del before.FILE
assert not hasattr(after, "FILE")
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
