"""The pages say what both documents and the table of Coral's tests say, and why they differ where they do."""

import re
from pathlib import Path

import pytest

from tests.contract import comparison
from tests.contract.coral import Coral


@pytest.mark.parametrize("page", [comparison.PAGE, comparison.FIELDS_PAGE], ids=lambda page: page.name)
def test_a_page_is_as_it_would_be_made(page: Path) -> None:
    assert page.read_text() == comparison.page(page), "run: python -m tests.contract.comparison"


def test_no_difference_is_left_without_its_reason() -> None:
    rows = [re.split(r" *\| *", line)[1:-1] for line in comparison.tables().splitlines() if line.startswith("| `")]
    fields = [row for row in rows if not re.match(r"`(GET|POST|PUT|DELETE) ", row[0])]
    assert len(fields) > 300
    assert [row for row in fields if row[2] != "=" and not row[3]] == []


def test_every_operation_of_coral_is_on_it(document: Coral) -> None:
    text = comparison.FIELDS_PAGE.read_text()
    assert [f"`{method} {path}`" for method, path in document.operations if f"`{method} {path}`" not in text] == []
