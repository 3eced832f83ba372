"""When the web console is built, and what is said when it cannot be."""

import sys
from pathlib import Path

import pytest

from infra import web_console


class Builder:
    """Builds nothing, and counts how often it was asked to."""

    def __init__(self, folder: Path) -> None:
        self.built = folder / "ui"
        self.times = 0

    def run(self, *_: str) -> str:
        self.times += 1
        self.built.mkdir(exist_ok=True)
        (self.built / "index.html").write_text("")
        return ""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "console"
    (folder / "src/generated").mkdir(parents=True)
    for name in ("index.html", "package-lock.json", "vite.config.ts", "src/main.tsx", "src/generated/api.d.ts"):
        (folder / name).write_text("1")
    return folder


@pytest.fixture
def builder(sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Builder:
    made = Builder(tmp_path)
    monkeypatch.setattr(web_console, "SOURCES", sources)
    monkeypatch.setattr(web_console, "BUILT", made.built)
    monkeypatch.setattr(web_console, "_MADE_OF", made.built / ".sources")
    monkeypatch.setattr(web_console, "installed", lambda: "node")
    monkeypatch.setattr(web_console, "run", made.run)
    return made


def test_it_is_built_once_and_again_when_a_source_changes(builder: Builder, sources: Path) -> None:
    assert web_console.build()
    assert not web_console.build()
    (sources / "src/main.tsx").write_text("2")
    assert web_console.build()
    (sources / "src/new.ts").write_text("3")
    assert web_console.build()
    assert builder.times == 3


def test_types_that_are_generated_are_no_source(builder: Builder, sources: Path) -> None:
    web_console.build()
    (sources / "src/generated/api.d.ts").write_text("2")
    assert not web_console.build()


@pytest.mark.usefixtures("builder")
def test_why_it_cannot_be_built_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: str) -> str:
        raise web_console.NotBuilt("vite: no")

    monkeypatch.setattr(web_console, "run", fail)
    assert web_console.main() == 1
    assert "vite: no" in capsys.readouterr().err


def test_an_old_node_is_not_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.20.1\n")
    old.chmod(0o755)
    (tmp_path / "npm").symlink_to(old)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(web_console, "find_spec", lambda _: None)
    monkeypatch.setattr(web_console, "NODE_FROM_PYPI", "no-such-node==0")
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(web_console.NotBuilt, match=r"no Node of 20\.19"):
        web_console.installed()
