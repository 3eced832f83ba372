"""What a person sees, and what a script reads: tables and colours in a terminal, plain columns or JSON elsewhere."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from atoll.command.lines import plain

#: Width of what is no terminal: nothing is cut there.
UNBOUND_COLUMNS = 10_000

#: How wide a column of a table is at least, with what is between it and the next.
FEWEST_COLUMNS = 8

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def console() -> Console:
    """Return the console of standard output as it is now."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else UNBOUND_COLUMNS)


def show(text: str | Text) -> None:
    """Print a line of the result."""
    console().print(text if isinstance(text, Text) else Text(text), soft_wrap=True)


def tell(text: str) -> None:
    """Say what a person wants to know and a script does not: nothing without a terminal."""
    if sys.stderr.isatty():
        Console(stderr=True, highlight=False).print(Text(text, style="dim"), soft_wrap=True)


def note(text: str, *, style: str = "dim") -> None:
    """Say on standard error what has to be known of what is done, terminal or not."""
    Console(stderr=True, highlight=False).print(Text(plain(text), style=style), soft_wrap=True)


def complain(text: str) -> None:
    """Print an error."""
    text = "\n".join(map(plain, text.splitlines()))
    Console(stderr=True, highlight=False).print(Text(f"✗ {text}", style="bold red"), soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning."""
    Console(stderr=True, highlight=False).print(Text(f"! {plain(text)}", style="yellow"), soft_wrap=True)


def show_json(value: Any) -> None:
    """Print a model, or a list of them, as JSON on one line."""
    print(json.dumps(_wire(value), ensure_ascii=False), flush=True)


def _wire(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if isinstance(value, list):
        return [_wire(each) for each in value]
    if isinstance(value, dict):
        return {name: _wire(each) for name, each in value.items()}
    return value


def show_rows(columns: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """Print a table, in a terminal; lines with tabs between the columns elsewhere."""
    listed = [[plain(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for row in listed:
            print(*(str(cell).replace("\t", " ") for cell in row), sep="\t")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    # What a row is called is copied from there: it is not broken as long as the other columns have room beside it.
    called = max((len(str(row[0])) for row in listed), default=0)
    fits = called + FEWEST_COLUMNS * (len(columns) - 1) <= console().width
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", min_width=called if fits and number == 0 else None)
    for row in listed:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console().print(table)


def show_line(*columns: str | Text) -> None:
    """Print a line of what is followed: spaces between its columns in a terminal, tabs elsewhere."""
    cells = [Text(plain(cell)) if isinstance(cell, str) else Text(plain(cell.plain), cell.style) for cell in columns]
    if sys.stdout.isatty():
        show(Text("  ").join(cells))
    else:
        print(*(cell.plain.replace("\t", " ") for cell in cells), sep="\t", flush=True)


def ago(time_ms: int, now_ms: int) -> str:
    """Return how long ago a time was, in its largest unit."""
    return span((now_ms - time_ms) / 1000) + " ago"


def span(seconds: float) -> str:
    """Return a time in its largest unit: ``42 s``, ``3 min``."""
    for size_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size_s:
            return f"{int(seconds // size_s)} {unit}"
    return f"{max(0, seconds):.0f} s"
