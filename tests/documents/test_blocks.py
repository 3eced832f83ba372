"""Each block of code in the documents can be read by whom it is for, and each command named in a sentence is there."""

import ast
import json
import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from atoll.command.session_file import SessionFile, ShortSession
from chalicelib.domain.agent_files import FILE, parse
from chalicelib.wire import llm_proxy
from chalicelib.wire.requests import SessionRequest
from chalicelib.wire.unknown_keys import warning_of
from tests.documents.blocks import LANGUAGES, PAGES, REASONS, ROOT, Block, blocks_of, marks_of, spans_of
from tests.documents.programs import Wrong, check_mention, check_route

BLOCKS = [block for page in PAGES for block in blocks_of(page)]

#: Where the number of blocks that are not run is stated.
COUNTS = ROOT / "tests/README.md"


def of(*languages: str) -> pytest.MarkDecorator:
    """Run a test with each block in these languages."""
    found = [pytest.param(block, id=block.place) for block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize("block", found)


@pytest.mark.parametrize("page", PAGES)
def test_each_block_has_a_language_and_each_mark_a_block(page: str) -> None:
    blocks = blocks_of(page)
    assert [block.place for block in blocks if block.language not in LANGUAGES] == []
    marked = [block for block in blocks if block.reason is not None]
    assert [(block.place, block.reason) for block in marked if block.reason not in REASONS] == []
    assert len(marked) == marks_of(page), f"{page}: a mark is not on the line above a block"


def test_no_block_stops_being_run_unnoticed() -> None:
    counts = Counter(block.reason for block in BLOCKS if block.reason)
    rows = "".join(f"| {reason} | {counts[reason]} |\n" for reason in REASONS)
    assert f"| not run | blocks |\n|---|---|\n{rows}" in COUNTS.read_text(), f"tests/README.md should say\n{rows}"


@of("sh")
def test_a_shell_reads_it(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in BLOCKS if block.file])
def test_a_file_of_the_repository_is_printed_as_it_is(block: Block) -> None:
    file = ROOT / str(block.file)
    assert not file.exists() or block.text.partition("\n")[2] == file.read_text()


@of("json")
def test_its_json_is_read(block: Block) -> None:
    value = json.loads(block.text)
    if "agentGraphRequest" in value:
        assert warning_of(value, SessionRequest.model_validate(value)) is None


@of("python")
def test_its_python_is_read(block: Block) -> None:
    ast.parse(block.text, block.place)


@of("toml")
def test_its_toml_is_taken(block: Block) -> None:
    tables = tomllib.loads(block.text)
    if "llm-proxy" in tables:
        llm_proxy.parse(block.text, dict.fromkeys(re.findall(r"\$\{(\w+)\}", block.text), "a-key"))
    else:  # an agent's file, or a part of one
        head = "" if "agent" in tables else 'edition = 4\n[agent]\nname = "of-the-page"\nversion = "1.0.0"\n'
        tail = "" if "runtimes" in tables else '[runtimes.executable]\npath = "python"\n'
        parse(head + block.text + tail, Path(block.file or FILE).parent)


@of("yaml")
def test_its_yaml_is_a_session(block: Block) -> None:
    ShortSession.model_validate(SessionFile(block.place, block.text).content)


@of("http")
def test_its_requests_are_for_paths_of_the_api(block: Block) -> None:
    for line in block.text.splitlines():
        method, path = line.split()[:2]
        check_route(method, re.sub(r"\{\w+\}", "x", path.partition("?")[0]))


@pytest.mark.parametrize("page", PAGES)
def test_each_command_in_a_sentence_is_there(page: str) -> None:
    wrong = []
    for line, text in spans_of(page):
        try:
            check_mention(text)
        except Wrong as error:
            wrong.append(f"{page}:{line}: `{text}`: {error}")
    assert wrong == []
