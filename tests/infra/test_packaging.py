"""Chalice's packaging when an index does not have, or does not give, what was locked."""

import contextlib
import functools
import hashlib
import http.server
import platform
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from infra.deploy import Failed, app, description, package

#: The architecture of this machine and the other one, as Lambda and as wheels name them.
NAMES = {"x86_64": "x86_64", "arm64": "aarch64"}
HERE = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
OTHER = next(name for name in NAMES if name != HERE)


def wheel(folder: Path, architecture: str, says: str = "") -> str:
    """Make a wheel of next to nothing for one architecture; return its hash."""
    tag = f"py3-none-manylinux2014_{NAMES[architecture]}"
    file = folder / f"nothing-1.0-{tag}.whl"
    info = "nothing-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("nothing.py", f"{architecture = }  # {says}\n")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: nothing\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return hashlib.sha256(file.read_bytes()).hexdigest()


@contextlib.contextmanager
def index(folder: Path) -> Iterator[str]:
    """Serve the wheels of a folder as a package index does, with the hashes that they have."""
    files = sorted(folder.glob("*.whl"))
    links = [f'<a href="/{file.name}#sha256={hashlib.sha256(file.read_bytes()).hexdigest()}">x</a>' for file in files]
    (folder / "simple/nothing").mkdir(parents=True)
    (folder / "simple/nothing/index.html").write_text("".join(links))

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/simple/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Package a project that wants one thing, with the hashes that were locked, of an index with these wheels."""

    def made(folder: Path, *locked: str) -> Path:
        write_project = description.write_project

        def written(project: Path, stage: str, **rest: Any) -> None:
            write_project(project, stage, **rest)
            hashes = " ".join(f"--hash=sha256:{each}" for each in locked)
            (project / "requirements.txt").write_text(f"nothing==1.0 {hashes}\n")

        monkeypatch.setattr(description, "write_project", written)
        with index(folder) as url:
            monkeypatch.setenv("PIP_INDEX_URL", url)
            # A folder with a space: pip reads lists in variables by their words.
            return package.make(tmp_path / "a package", "dev", OTHER).with_name("deployment.zip")

    return made


def test_another_architectures_wheels_are_packaged_when_they_are_those_that_were_locked(
    packages: Any, tmp_path: Path
) -> None:
    locked = [wheel(tmp_path, each) for each in (HERE, OTHER)]
    with zipfile.ZipFile(packages(tmp_path, *locked)) as archive:
        assert OTHER.encode() in archive.read("nothing.py")


def test_a_wheel_that_was_not_locked_is_not_packaged(packages: Any, tmp_path: Path) -> None:
    """Chalice asks for another machine's wheels by name and version alone."""
    locked = [wheel(tmp_path, each) for each in (HERE, OTHER)]
    wheel(tmp_path, OTHER, "of somebody else")
    with pytest.raises(Failed, match=r"nothing==1\.0"):
        packages(tmp_path, *locked)


def test_a_package_that_lacks_a_dependency_is_none(packages: Any, tmp_path: Path) -> None:
    """Chalice says that it "will continue but may not work correctly", and ends well."""
    with pytest.raises(Failed, match=r"nothing==1\.0"):
        packages(tmp_path, wheel(tmp_path, HERE))


def test_functions_that_lack_a_dependency_are_not_deployed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Chalice deploys what it has packaged, whatever is in it: so it packages first, and then only deploys."""
    called: list[str] = []

    def lacking(command: str, *_: str, **__: Any) -> None:
        called.append(command)
        raise Failed("pip got no wheels")

    monkeypatch.setattr(app, "chalice", lacking)
    session = boto3.Session(region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test")
    with pytest.raises(Failed, match="no wheels"):
        app.run_chalice("deploy", "dev", tmp_path, session, app.App())
    assert called == ["package"]
