"""The page of limits says what the code says, and leaves none out."""

import re
from pathlib import Path

import pytest

from chalicelib.settings import Settings
from tests import limits

LIBRARY = Path(__file__).parents[2] / "chalicelib"
#: Rooms whose limits callers meet.
ROOMS = ("wire", "domain", "api", "mcp")


def test_the_page_is_as_it_would_be_made() -> None:
    assert limits.PAGE.read_text() == limits.page(), "run: python -m tests.limits"


def test_no_limit_is_left_out() -> None:
    listed = {limit.where for each in limits.LIMITS.values() for limit in each} | limits.NO_LINE
    found = {
        f"{path.relative_to(LIBRARY).with_suffix('').as_posix().replace('/', '.')}:{name}"
        for room in ROOMS
        for path in (LIBRARY / room).rglob("*.py")
        for name in re.findall(r"^(MAX_\w+)(?::.*)? = ", path.read_text(), re.MULTILINE)
    }
    assert len(found) > 30
    assert found - listed == set(), "add them to tests/limits.py"


def test_each_session_limit_of_the_settings_is_on_it() -> None:
    named = {name for name in Settings.model_fields if name.startswith(("session_", "agent_w", "mcp_c"))}
    listed = {limit.where.removeprefix("settings:") for each in limits.LIMITS.values() for limit in each}
    assert named - listed == {"session_events"}


@pytest.mark.parametrize(
    ("value", "name", "written"),
    [
        (58_000, "MAX_WAIT_MS", "58 s"),
        (500, "MAX_WAIT_MS", "500 ms"),
        (0.2, "TIMEOUT_S", "200 ms"),
        (30 * 86_400, "MAX_SESSION_S", "30 days"),
        (100, "MCP_CALLS_PER_S", "100"),
        (300_000, "MAX_BYTES", "300,000 bytes"),
    ],
)
def test_a_number_has_the_unit_of_its_name(value: float, name: str, written: str) -> None:
    assert limits._written(value, name, "") == written
