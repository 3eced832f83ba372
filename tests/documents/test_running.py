"""What the documents print is run as printed: in their order, in one shell each, against one server of this machine.

`tests/README.md` says how a block is marked that cannot be run here. Of such a block the commands are looked at.
"""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.wire import llm_proxy
from infra.local.stack import LocalStack
from tests.documents.answers import different_json, different_lines
from tests.documents.blocks import PAGES, ROOT, Block, blocks_of
from tests.documents.programs import Wrong, check
from tests.documents.shells import Document
from tests.environments import NotInstallable
from tests.offline_models import OfflineModels

pytestmark = [
    pytest.mark.xdist_group("documents"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine"),
]

#: Until an answer must have come that is printed under a block that only reads, in s.
ANSWER_S = 30.0

#: Languages whose blocks do something.
DOING = ("sh", "python", "js")


@pytest.fixture(scope="module")
def models() -> Iterator[llm_proxy.LlmProxyConfig]:
    """The models of docs/models.md, but for where they are."""
    [block] = [each for each in blocks_of("docs/models.md") if each.file == "coral.toml"]
    with OfflineModels() as provider:
        config = llm_proxy.parse(block.text, {"OPENAI_API_KEY": "a-key", "ANTHROPIC_API_KEY": "a-key"})
        here = [each.model_copy(update={"base_url": provider.url}) for each in config.providers]
        yield config.model_copy(update={"providers": here})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each document has its folder."""
    return tmp_path_factory.mktemp("documents")


@pytest.fixture(scope="module")
def url(folders: Path, models: llm_proxy.LlmProxyConfig) -> Iterator[str]:
    """A server as `make run` starts it, that follows the agents of the documents' folders."""
    patterns = [f"{ROOT}/agents/*", f"{ROOT}/examples/*", f"{folders}/*/*", f"{folders}/*/my-agents/*"]
    with LocalStack(agent_patterns=patterns, llm_proxy=models) as stack:
        yield stack.url


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.language in DOING for b in blocks_of(page))])
def test_the_page_does_what_it_prints(page: str, folders: Path, url: str) -> None:
    with Document(folders / page.replace("/", "-"), url) as document:
        above: Block | None = None
        if any(block.language == "ts" for block in blocks_of(page)):
            serve_node(document)
        for block in blocks_of(page):
            if block.language in ("json", "text") and above and above.below == block.line:
                compare(document, above, block)
            else:
                do(document, block)
            above = block if block.language == "sh" and block.reason is None else None


def serve_node(document: Document) -> None:
    """Give a document packages of Node, or skip it where there are none."""
    try:
        document.serve_node()
    except NotInstallable as error:
        if "CI" in os.environ:
            raise
        pytest.skip(f"what it installs with npm cannot be installed here: {error}")


def do(document: Document, block: Block) -> None:
    """Do what is to be done with a block."""
    if block.file is not None:
        document.write(block)
    elif block.language == "sh":
        document.answers[block] = document.run(block)
        check_calls(document, block)
    elif block.language == "python" and block.reason is None:
        document.run_python(block)
    elif block.language == "js" and block.reason is None:
        document.run_node(block)


def check_calls(document: Document, block: Block) -> None:
    """Check the commands of a block that were not run."""
    for called in document.called():
        try:
            check(called.name, called.arguments, called.folder)
        except Wrong as error:
            pytest.fail(f"{block.place}: {called.name} {' '.join(called.arguments)}: {error}")


def compare(document: Document, asked: Block, printed: Block) -> None:
    """Compare what a block has answered with what is printed under it; one that only reads is asked until it is so."""
    differences = different_json if printed.language == "json" else different_lines
    deadline_s = time.monotonic() + (0 if " -d " in asked.text else ANSWER_S)
    answer = document.answers[asked]
    while True:
        different = [*differences(printed.text, answer)]
        if not different or time.monotonic() > deadline_s:
            break
        time.sleep(0.2)
        answer = document.run(asked)
    if different:
        pytest.fail("\n".join([printed.place, *different, "It has answered", answer]))
