"""The README's table is what a run of the bench writes there, and nothing else of the README changes by it."""

import re

from bench import short

#: As much of a run's results as the table is made of.
RUN = {
    "machine": "1 CPU",
    "cold_start": {"figures": {"atoll": {"cpu_ms": 26.0}, "floor": {"cpu_ms": 20.0}}},
    "calls": {
        "figures": {
            name: {"calls": count}
            for count, name in enumerate(
                (
                    "create a session of 3 agents",
                    "state",
                    "send a message",
                    "a wait that is answered at once",
                    "an idle wait of 25 s",
                )
            )
        }
    },
    "handlers": {"figures": [{"atoll_ms": 9.0, "floor_ms": 10.0}, {"atoll_ms": 11.0, "floor_ms": 10.0}]},
    "timers": {
        "figures": {
            "times": [
                {"name": "`make run` is ready", "ms": [1_000, 2_000, 1_500]},
                {"name": "executed after the POST", "ms": [50]},
                {"name": "a message to a waiting agent, and its answer back", "ms": [60]},
            ]
        }
    },
    "throughput": {
        "figures": {
            "rows": [
                {"name": name, "connections": 64, "atoll": {"per_s": 1234.0}, "peer": peer}
                for name, peer in (
                    ("create a session", {"per_s": 99.4}),
                    ("send a message", None),
                    ("read a session's state", None),
                )
            ]
        }
    },
    "money": {
        "figures": {
            "session": 0.001,
            "session_held": 0.008,
            "session_with_tasks": 0.011,
            "session_functions": 0.0007,
            "at_rest_month": 3.9,
        }
    },
}


def labels(table: str) -> list[str]:
    """Return the first cells of a table's rows."""
    return [cell for cell in re.findall(r"^\| ([^|]+) \|", table, re.MULTILINE) if cell.strip("-")]


def test_the_readme_shows_what_a_run_writes() -> None:
    shown = short.README.read_text().partition(short.BEGIN)[2].partition(short.END)[0]
    assert labels(shown) == labels(short.table(RUN))


def test_a_run_writes_its_figures_between_the_marks_and_nowhere_else() -> None:
    before = f"above\n{short.BEGIN}\noutdated\n{short.END}\nbelow\n"
    after = short.written(before, RUN)
    assert after.startswith(f"above\n{short.BEGIN}\n| | |\n")
    assert after.endswith(f"\n{short.END}\nbelow\n")
    assert "outdated" not in after
    assert "| cold start, CPU | 1.30x of a bare Chalice app's |" in after
    assert "| a handler's CPU | 0.90x to 1.10x of" in after
    assert "| `make run` is ready | 1.5 s |" in after
    assert "| sessions created, 64 connections | 1,234/s, ADK 99/s |" in after
    assert "| messages sent | 1,234/s |" in after
    assert "$1.00, with clients that are held $8.00; their Fargate tasks $10.00" in after
    assert short.written(after, RUN) == after


def test_a_run_of_some_sections_leaves_the_table_alone() -> None:
    part = {name: section for name, section in RUN.items() if name != "money"}
    assert short.lacking(RUN) == set()
    assert short.lacking(part) == {"money"}
