"""The short table of the README: written by a run of the bench, never by hand.

The results themselves stay on the machine that made them: they change with every run, so `bench/results/` is not
committed.
"""

import json
import statistics
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
RESULTS = ROOT / "bench" / "results" / "latest.json"
BEGIN, END = "<!-- bench -->", "<!-- /bench -->"


#: The sections of a run that the table is made of.
SECTIONS = {"cold_start", "calls", "handlers", "timers", "throughput", "money"}


def lacking(kept: dict[str, Any]) -> set[str]:
    """Return the sections without which there is no table."""
    return SECTIONS - set(kept)


def table(kept: dict[str, Any]) -> str:
    """Return the table of a whole run."""
    # Not at the top: what a process has loaded counts in the peak memory of those that it starts to be measured.
    from bench.money import AGENTS, MESSAGES, MINUTES

    figures = {name: section["figures"] for name, section in kept.items() if isinstance(section, dict)}
    cold, calls, money = figures["cold_start"], figures["calls"], figures["money"]
    took = {one["name"]: statistics.median(one["ms"]) for one in figures["timers"]["times"]}
    rates = {(one["name"], one["connections"]): one for one in figures["throughput"]["rows"]}
    peers = [one["atoll_ms"] / one["floor_ms"] for one in figures["handlers"]]

    def count(name: str) -> str:
        return str(calls[name]["calls"])

    def beside(name: str) -> str:
        one = rates[name, 64]
        peer = f", ADK {one['peer']['per_s']:,.0f}/s" if one["peer"] else ""
        return f"{one['atoll']['per_s']:,.0f}/s{peer}"

    rows = [
        ("cold start, CPU", f"{cold['atoll']['cpu_ms'] / cold['floor']['cpu_ms']:.2f}x of a bare Chalice app's"),
        ("a handler's CPU", f"{min(peers):.2f}x to {max(peers):.2f}x of a bare app that makes the same AWS calls"),
        (
            "AWS calls",
            f"create 3 agents {count('create a session of 3 agents')}, state {count('state')}, "
            f"send {count('send a message')}, a wait answered at once {count('a wait that is answered at once')}, "
            f"an idle wait of 25 s {count('an idle wait of 25 s')}",
        ),
        ("`make run` is ready", f"{took['`make run` is ready'] / 1000:.1f} s"),
        ("executed after the POST", f"{took['executed after the POST']:.0f} ms"),
        (
            "a message to a waiting agent, and its answer back",
            f"{took['a message to a waiting agent, and its answer back']:.0f} ms",
        ),
        ("sessions created, 64 connections", beside("create a session")),
        ("messages sent", beside("send a message")),
        ("states read", beside("read a session's state")),
        (
            f"1,000 sessions of {AGENTS} agents, {MESSAGES} messages, {MINUTES} minutes",
            f"${money['session'] * 1000:.2f}, with clients that are held ${money['session_held'] * 1000:.2f}; "
            f"their Fargate tasks ${(money['session_with_tasks'] - money['session']) * 1000:.2f}; "
            f"with agents that are functions ${money['session_functions'] * 1000:.2f} in all",
        ),
        ("a month in which nothing runs", f"${money['at_rest_month']:.2f} and storage"),
    ]
    lines = ["| | |", "|---|---|", *(f"| {what} | {seen} |" for what, seen in rows)]
    note = f"Medians on one machine of {kept['machine']}; ADK is `adk api_server` with SQLite, in the same run."
    return "\n".join([*lines, "", note])


def written(readme: str, kept: dict[str, Any]) -> str:
    """Return the README with the table of these results in its place."""
    before, _, rest = readme.partition(BEGIN)
    return f"{before}{BEGIN}\n{table(kept)}\n{END}{rest.partition(END)[2]}"


def write() -> set[str]:
    """Bring the README up to date with the latest results; return the sections that lack for it, if any do."""
    kept = json.loads(RESULTS.read_text())
    missing = lacking(kept)
    if not missing:
        README.write_text(written(README.read_text(), kept))
    return missing
