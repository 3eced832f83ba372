"""The console's page and files as the API serves them, whoever asks; what the page does is tried in tests/console."""

import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from app import app
from chalicelib.api import console
from infra.deploy import description
from infra.local.stack import LocalStack
from tests.integration.api.test_description import added_headers, at_stage

pytestmark = pytest.mark.xdist_group("api")


@pytest.fixture(autouse=True)
def built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A console of two files, in the place of the one that was built."""
    (tmp_path / "index.html").write_text('<html>\n  <head>\n  <script src="./main-1.js"></script></head></html>')
    (tmp_path / "main-1.js").write_text("start()")
    (tmp_path / "notes.txt").write_text("not for anybody")
    monkeypatch.setattr(console, "FOLDER", tmp_path)
    return tmp_path


def ask(stack: LocalStack, path: str) -> tuple[int, str, Message]:
    try:
        with urllib.request.urlopen(f"{stack.url}{path}") as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), error.headers


def test_the_page_is_asked_for_anew_and_its_files_are_kept(stack: LocalStack) -> None:
    status, page, headers = ask(stack, "/ui/console/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert headers["Cache-Control"] == "no-cache"
    assert '<base href="/ui/console/" />' in page
    status, script, headers = ask(stack, "/ui/console/main-1.js")
    assert (status, script, headers["Content-Type"]) == (200, "start()", "text/javascript; charset=utf-8")
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_nothing_is_loaded_from_elsewhere(stack: LocalStack) -> None:
    for path in ("/ui/console/", "/ui/console/main-1.js"):
        headers = ask(stack, path)[2]
        policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
        assert policy.pop("default-src") == "'none'"
        assert policy.pop("img-src") == "'self' data:"
        assert policy.pop("frame-ancestors") == "'none'"
        assert set(policy.values()) == {"'self'"}
        assert headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "name", ["notes.txt", "other.js", "..%2Fapi%2Fconsole.py", ".sources", "a%00.js", "%2Fetc%2Fpasswd"]
)
def test_other_files_are_not_served(stack: LocalStack, name: str) -> None:
    assert ask(stack, f"/ui/console/{name}")[0] == 404


def test_a_console_that_was_not_built_says_how(stack: LocalStack, built: Path) -> None:
    (built / "index.html").unlink()
    status, text, _ = ask(stack, "/ui/console/")
    assert status == 404
    assert "make console" in text


@pytest.mark.usefixtures("stack")
def test_behind_a_stage_the_page_knows_where_it_is() -> None:
    for path in ("/ui/console", "/ui/console/"):
        assert '<base href="/prod/ui/console/" />' in at_stage(path, {})["body"]
        assert '<base href="/ui/console/" />' in at_stage(path, added_headers())["body"]


def test_the_root_leads_to_it(stack: LocalStack) -> None:
    with urllib.request.urlopen(f"{stack.url}/") as answer:
        assert answer.url == f"{stack.url}/ui/console/"


def test_it_is_part_of_what_is_deployed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "root/chalicelib/ui").mkdir(parents=True)
    for name in ("app.py", "requirements.txt", "chalicelib/ui/index.html"):
        (tmp_path / "root" / name).write_text("")
    config: dict[str, Any] = description.config()
    monkeypatch.setattr(description, "config", lambda: config)
    monkeypatch.setattr(description, "ROOT", tmp_path / "root")
    description.write_project(tmp_path / "made", "dev", environment={}, limits={}, traced=False, roles={})
    assert (tmp_path / "made/chalicelib/ui/index.html").exists()


def test_the_app_has_its_routes() -> None:
    assert {"/ui/console", "/ui/console/{file}"} <= set(app.routes)
