"""What a run found, as a table for people and as JUnit's XML for machines."""

from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree as ET

from rich.table import Column, Table
from rich.text import Text

from infra.smoke.outcomes import Outcome

_SIGNS = {"passed": ("✓", "green"), "failed": ("✗", "bold red"), "skipped": ("-", "yellow")}


def table(outcomes: Iterable[Outcome]) -> Table:
    """Return outcomes as a table."""
    # What is longer than its column, such as a path, goes on in the next line.
    rows = Table("", "way", "check", "s", Column("what was seen", overflow="fold"), title_justify="left")
    for each in outcomes:
        sign, style = _SIGNS[each.result]
        rows.add_row(Text(sign, style=style), each.way, Text(each.name), f"{each.took_s:.0f}", Text(each.text))
    return rows


def junit(outcomes: Iterable[Outcome], stage: str) -> str:
    """Return outcomes as JUnit's XML: one suite, a case each."""
    found = list(outcomes)
    count = {result: str(sum(each.result == result for each in found)) for result in _SIGNS}
    suite = ET.Element(
        "testsuite",
        name=f"smoke of {stage}",
        tests=str(len(found)),
        failures=count["failed"],
        skipped=count["skipped"],
        errors="0",
        time=f"{sum(each.took_s for each in found):.3f}",
    )
    for each in found:
        case = ET.SubElement(suite, "testcase", classname=each.way, name=each.name, time=f"{each.took_s:.3f}")
        if each.result == "failed":
            ET.SubElement(case, "failure", message=_clean(each.text))
        elif each.result == "skipped":
            ET.SubElement(case, "skipped", message=_clean(each.text))
        else:
            ET.SubElement(case, "system-out").text = _clean(each.text)
    return ET.tostring(suite, encoding="unicode", xml_declaration=True)


def _clean(text: str) -> str:
    """Leave out what XML cannot have."""
    return "".join(letter for letter in text if letter >= " " or letter in "\t\n")


def write(path: Path, outcomes: Iterable[Outcome], stage: str) -> None:
    """Write JUnit's XML into a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(junit(outcomes, stage), encoding="utf-8")
