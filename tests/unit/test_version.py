"""The version is in one place; everything else that states it reads it there."""

import re
import tomllib
from pathlib import Path

from chalicelib.version import VERSION

ROOT = Path(__file__).parents[2]


def test_the_project_has_no_version_of_its_own() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["dynamic"] == ["version"]
    assert "version" not in project["project"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "chalicelib.version.VERSION"}


def test_the_openapi_document_has_it() -> None:
    import app  # noqa: F401 - it registers the routes
    from chalicelib.api import openapi

    assert f'"version":"{VERSION}"' in openapi.text("/").replace('": "', '":"')


def test_the_changelog_says_what_is_in_it() -> None:
    released = re.findall(r"^## ([^\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] in ("Unreleased", VERSION)
    assert VERSION in released
