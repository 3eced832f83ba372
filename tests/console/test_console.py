"""The web console: its parts by themselves, and the whole of it in a browser."""

import gzip
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra import web_console
from infra.local.stack import LocalStack
from tests import environments
from tests.console import models

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: What a process ends with that has no browser (browser.mjs).
NO_BROWSER = 77
DEADLINE_S = 240
#: In bytes, compressed.
LARGEST_FIRST_LOAD = 150_000

# They share what npm installs.
pytestmark = pytest.mark.xdist_group("console")


@pytest.fixture(scope="module")
def node() -> str:
    """Node, with the console built."""
    try:
        web_console.build()
        return web_console.installed()
    except web_console.NotBuilt as error:
        _missing(str(error))
        raise


def _missing(why: str) -> None:
    """Skip what cannot run here, and say so loudly where it must."""
    if "CI" in os.environ:
        pytest.fail(why)
    pytest.skip(why)


@pytest.mark.usefixtures("node")
def test_the_first_load_is_small() -> None:
    page = (web_console.BUILT / "index.html").read_text()
    parts = [web_console.BUILT / name for name in re.findall(r'(?:src|href)="\./([^"]+)"', page)]
    assert len(parts) == 3
    assert sum(len(gzip.compress(part.read_bytes())) for part in parts) <= LARGEST_FIRST_LOAD


@pytest.fixture(scope="module")
def stack() -> Iterator[LocalStack]:
    agents = [ROOT / "agents/echo", ROOT / "agents/puppet", HERE / "cast/writer"]
    with models.offline() as llm_proxy, LocalStack(agents=agents, llm_proxy=llm_proxy) as running:
        yield running


def test_its_types_are_those_of_the_api_and_its_parts_work(node: str, tmp_path: Path) -> None:
    import app  # noqa: F401, its operations are what the document is made of
    from chalicelib.api import openapi

    (tmp_path / "api.json").write_text(openapi.text("/"))
    generated = web_console.SOURCES / "src/generated/api.d.ts"
    web_console.run(
        node, "node_modules/openapi-typescript/bin/cli.js", str(tmp_path / "api.json"), "-o", str(generated)
    )
    # Beside the packages that they need.
    shutil.rmtree(web_console.SOURCES / "node_modules/.made", ignore_errors=True)
    web_console.run(node, "node_modules/typescript/bin/tsc")
    web_console.run(node, "--test", "node_modules/.made/tests")


def test_somebody_uses_all_of_it(node: str, stack: LocalStack) -> None:
    try:
        environments.node(HERE)
    except environments.NotInstallable as error:
        _missing(f"no browser: {error}")
    done = subprocess.run(
        [node, "--test", "--test-reporter=spec", str(HERE / "console.test.mjs")],
        env={**os.environ, "ATOLL_URL": stack.url, "ATOLL_API_KEY": stack.key},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    if "no browser:" in done.stderr + done.stdout:
        _missing((done.stderr + done.stdout)[-2000:])
    assert done.returncode == 0, done.stdout[-12000:] + done.stderr[-4000:]
