"""A console from a folder: which file is served where."""

from pathlib import Path

import pytest

from infra.local.api_gateway.console_folder import ConsoleFolder


@pytest.fixture
def folder(tmp_path: Path) -> ConsoleFolder:
    (tmp_path / "secret").write_text("s")
    built = tmp_path / "built"
    (built / "_app").mkdir(parents=True)
    for name in ("index.html", "404.html", "thread.html", "_app/start.js", "logo.png"):
        (built / name).write_text(name)
    (built / "way-out").symlink_to(tmp_path / "secret")
    return ConsoleFolder(built)


@pytest.mark.parametrize(
    ("path", "file", "kind"),
    [
        ("/ui/console/", "index.html", "text/html; charset=utf-8"),
        ("/ui/console/index.html?token=x", "index.html", "text/html; charset=utf-8"),
        ("/ui/console/thread", "thread.html", "text/html; charset=utf-8"),
        ("/ui/console/_app/start.js", "_app/start.js", "text/javascript; charset=utf-8"),
        ("/ui/console/logo.png", "logo.png", "image/png"),
        ("/ui/console/a/b", "404.html", "text/html; charset=utf-8"),
        ("/ui/console/../secret", "404.html", "text/html; charset=utf-8"),
        ("/ui/console/%2e%2e%2fsecret", "404.html", "text/html; charset=utf-8"),
        ("/ui/console//etc/passwd", "404.html", "text/html; charset=utf-8"),
        ("/ui/console/way-out", "404.html", "text/html; charset=utf-8"),
        ("/ui/console/a%00b", "404.html", "text/html; charset=utf-8"),
    ],
)
def test_the_file_else_html_else_404(folder: ConsoleFolder, path: str, file: str, kind: str) -> None:
    answer = folder.find("GET", path)
    assert answer is not None
    assert (answer.status, answer.content, answer.headers["Content-Type"]) == (200, file.encode(), kind)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api_v1.json"), ("GET", "/ui/consoles"), ("POST", "/ui/console/")]
)
def test_all_else_is_left_to_the_app(folder: ConsoleFolder, method: str, path: str) -> None:
    assert folder.find(method, path) is None


def test_without_its_slash_it_leads_to_itself(folder: ConsoleFolder) -> None:
    answer = folder.find("GET", "/ui/console")
    assert answer is not None
    assert (answer.status, answer.headers["Location"]) == (302, "/ui/console/")


def test_a_folder_without_a_page_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no index\.html"):
        ConsoleFolder(tmp_path)
