"""Every route of the app has its line in the table of roles."""

import pytest

from app import app
from chalicelib.api import roles as table
from chalicelib.api.routing import ROUTES
from chalicelib.domain import roles

OPERATIONS = {f"{method} {path}" for path, methods in app.routes.items() for method in methods if method != "OPTIONS"}


def test_every_route_has_its_line_and_every_line_its_route() -> None:
    assert table.NEEDED.keys() | table.WITHOUT_KEY == OPERATIONS
    assert not table.NEEDED.keys() & table.WITHOUT_KEY


def test_routes_without_a_key_are_those_that_ask_for_none() -> None:
    assert {f"{route.method} {route.path}" for route in ROUTES if not route.authenticated} == table.WITHOUT_KEY


def test_who_only_reads_may_change_nothing() -> None:
    """By the method alone: whatever is not a GET changes something."""
    may = {operation for operation, needed in table.NEEDED.items() if "viewer" in needed}
    assert {operation.split()[0] for operation in may} == {"GET"}


def test_an_operation_that_is_not_in_the_table_is_for_admins() -> None:
    assert table.needed("POST /new") == roles.ADMINS


@pytest.mark.parametrize("operation", sorted(table.NEEDED))
def test_an_admin_may_do_everything(operation: str) -> None:
    assert "admin" in table.NEEDED[operation]
