"""A whole conversation of two agents on the official TypeScript client, and on the one of an agent framework.

The framework is the Vercel AI SDK, whose MCP client is its own. Node packages are installed once, beside the script.
"""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from chalicelib.clock import Clock
from tests.mcp_http import serving
from tests.mcp_world import World

CLIENTS = Path(__file__).parents[2] / "clients" / "typescript"


@pytest.fixture(scope="module")
def node() -> str:
    """Return the path of node, with the script's packages in place; skip where they cannot be had."""
    found, npm = shutil.which("node"), shutil.which("npm")
    if found is None or npm is None:
        pytest.skip("node and npm are not on this machine")
    if not (CLIENTS / "node_modules" / ".package-lock.json").exists():
        installed = subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund"],
            cwd=CLIENTS,
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
        )
        if installed.returncode:
            pytest.skip(f"npm ci failed: {installed.stderr.strip()[-200:]}")
    return found


@pytest.mark.xdist_group("npm")
@pytest.mark.parametrize(("asking", "answering"), [("sdk", "sdk"), ("ai", "ai"), ("sdk", "ai")])
def test_two_agents_talk(here: World, node: str, asking: str, answering: str) -> None:
    with serving(here) as url:
        urls = [f"{url}/mcp/v1/{here.secret(name)}/mcp" for name in ("ann", "bob")]
        talk = subprocess.run(
            [node, "talk.mjs", asking, urls[0], answering, urls[1]],
            cwd=CLIENTS,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert talk.returncode == 0, talk.stderr
    said = json.loads(talk.stdout)
    assert (said["ann"]["received"], said["bob"]["received"]) == ("4", "2 + 2?")
    assert said["ann"]["sawItsQuestion"]
    assert "nope" in said["bob"]["refused"]
    assert len(said["ann"]["tools"]) == len(said["bob"]["tools"]) == 8


@pytest.mark.xdist_group("npm")
def test_the_official_client_comes_back_for_its_waits(here: World, node: str, comebacks: list[str]) -> None:
    """Every wait is paused at once; the client notices nothing."""
    with here.on(Clock(), mcp_wait_hold_ms=0):
        test_two_agents_talk(here, node, "sdk", "sdk")
    assert comebacks
