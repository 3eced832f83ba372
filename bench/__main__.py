"""`make bench`: measure everything, print one table, keep it in bench/results/latest.json, and write the README's.

    python -m bench [section ...]

Without sections all are measured. Exits with 0 whether the goals hold or not: it measures, tests judge.
"""

import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import short
from bench.short import RESULTS


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    seen: str
    goal: str = ""
    #: Whether the goal holds; `None` when there is no goal.
    holds: bool | None = None


#: A section's rows, and what is kept of it.
Section = tuple[list[Row], Any]


def cold_start() -> Section:
    """Cold starts."""
    from bench import cold_start

    found = cold_start.measure()
    floor, atoll, mcp = found["floor"], found["atoll"], found["mcp"]
    cpu, memory = atoll.cpu_ms / floor.cpu_ms, atoll.peak_mib / floor.peak_mib
    rows = [
        Row("CPU of a first GET", f"{atoll.cpu_ms:.0f} ms: {cpu:.2f}x of {floor.cpu_ms:.0f} ms", "≤ 1.4x", cpu <= 1.4),
        Row(
            "peak memory",
            f"{atoll.peak_mib:.0f} MiB: {memory:.2f}x of {floor.peak_mib:.0f} MiB",
            "≤ 1.5x",
            memory <= 1.5,
        ),
        Row("the MCP endpoint, its first tools/list", f"{mcp.cpu_ms:.0f} ms, {mcp.peak_mib:.0f} MiB"),
    ]
    return rows, {name: asdict(one) for name, one in found.items()}


def calls() -> Section:
    """AWS calls."""
    from bench import calls

    found = calls.measure()
    rows = []
    for one in found:
        counted, limit = one.counted, one.limit
        seen = f"{len(counted.calls)} calls, {counted.read_units:g} read and {counted.write_units:g} write units"
        holds = None if limit is None else len(counted.calls) <= limit
        rows.append(Row(one.name, seen, f"≤ {limit} calls" if limit else "", holds))
    return rows, {one.name: one.counted.row() for one in found}


def handlers() -> Section:
    """Handlers' CPU."""
    from bench import handlers

    found = handlers.measure()
    rows = [
        Row(
            one.name,
            f"{one.atoll_ms:.2f} ms: {one.ratio:.2f}x of {one.floor_ms:.2f} ms",
            "≤ 1.5x",
            one.ratio <= 1.5,
        )
        for one in found
    ]
    return rows, [asdict(one) for one in found]


def growth() -> Section:
    """Growth."""
    from bench import growth

    try:
        found = growth.measure()
    except growth.NotThere as error:
        return [Row("growth", f"not measured: {error}", "≤ 1.1x", False)], None
    rows = []
    for one in found:
        units, ms = one.factor(one.units), one.factor(one.ms)
        seen = " / ".join(f"{each:g}" for each in one.units)
        took = " / ".join(f"{each:.1f}" for each in one.ms)
        sizes = " / ".join(f"{size:,}" for size in one.sizes)
        if one.name == "extended state":
            slope = (one.ms[-1] - one.ms[0]) / (one.sizes[-1] - one.sizes[0]) * 1000
            per = (one.units[-1] - one.units[0]) / (one.sizes[-1] - one.sizes[0]) * 1000
            rows.append(
                Row(f"{one.name} at {sizes}", f"{took} ms: {slope:.0f} ms and {per:.0f} units for 1,000 messages")
            )
        else:
            rows.append(Row(f"{one.name} at {sizes}", f"units {seen}: {units:.2f}x", "≤ 1.1x", units <= 1.1))
            rows.append(Row("    in time, on dynalite", f"{took} ms: {ms:.2f}x", "≤ 1.1x", ms <= 1.1))
    return rows, [asdict(one) for one in found]


def timers() -> Section:
    """Timers and wake-ups."""
    from bench import timers

    found, crowd = timers.measure()
    rows = [
        Row(
            one.name,
            f"median {one.median:.0f} ms, p99 {one.p99:.0f} ms",
            ", ".join(
                f"{what} ≤ {limit:,.0f} ms"
                for what, limit in (("median", one.median_limit), ("all", one.worst_limit))
                if limit
            ),
            one.holds if one.median_limit or one.worst_limit else None,
        )
        for one in found
    ]
    seen = f"{crowd.acknowledged} of {crowd.sent} acknowledged, {crowd.logged} in the log"
    rows.append(Row(f"{crowd.senders} senders at once in one thread", seen, "none lost, no hole", crowd.whole))
    cost = crowd.long_ms / crowd.empty_ms
    seen = f"{crowd.long_ms:.1f} ms: {cost:.2f}x of {crowd.empty_ms:.1f} ms"
    rows.append(Row("sending to a thread of 10,000 messages", seen, "as to an empty one", cost <= 1.1))
    return rows, {"times": [asdict(one) for one in found], "crowd": asdict(crowd)}


def following() -> Section:
    """Following a session."""
    from bench import following

    found, sending = following.measure()
    rows = []
    for one in found:
        rate = one.sent / one.seconds
        who = "1 follower" if one.followers == 1 else f"{one.followers} followers"
        whole = one.fewest == one.most == one.sent and one.in_order
        seen = f"{one.fewest} to {one.most} of {one.sent} events, {'in' if one.in_order else 'not in'} one order"
        rows.append(Row(f"{who} of a session at {rate:.0f} messages/s", seen, "none lost", whole))
        late = f"median {one.median_ms:.0f} ms, p99 {one.p99_ms:.0f} ms"
        rows.append(Row("    from a message's stamp to its follower", late, "median ≤ 300 ms", one.median_ms <= 300))
    share = sending.without / sending.with_stream
    seen = f"{sending.with_stream:.0f}/s: {share:.2f}x the time of {sending.without:.0f}/s without the stream"
    rows.append(Row("sending where nobody follows", seen, "≤ 1.1x", share <= 1.1))
    return rows, {"followed": [asdict(one) for one in found], "sending": asdict(sending)}


def turning() -> Section:
    """Agents as functions."""
    from bench import turning

    found, turns = turning.measure()
    rows = [
        Row(
            f"from a message to the answer of {one.what}",
            f"median {one.median_ms:.0f} ms, p99 {one.p99_ms:.0f} ms",
            "median ≤ 150 ms",
            one.median_ms <= 150,
        )
        for one in found
    ]
    seen = f"{turns.turns / turns.seconds:.0f} turns/s, {turns.turns} of {turning.AGENTS} agents"
    return [*rows, Row("turns of one session", seen)], {
        "answered": [asdict(one) for one in found],
        "turns": asdict(turns),
    }


def archiving() -> Section:
    """Archiving a long session."""
    from bench import archiving

    found, (timeout_s, memory_mb) = archiving.measure(), archiving.limits()
    slices, longest_s = len(found.slices_s), max(found.slices_s)
    whole = found.messages == archiving.ENTRIES
    seen = f"{sum(found.slices_s):.1f} s in {slices} slices, {found.parts} parts; {found.messages:,} messages read back"
    rows = [
        Row(f"archiving {found.entries:,} entries of {archiving.CHARS} characters", seen, "none lost, slices", whole),
        Row(
            f"    the longest slice, begun to be {archiving.SLICE_MS / 1000:g} s",
            f"{longest_s:.1f} s",
            f"≤ {timeout_s} s",
            longest_s <= timeout_s,
        ),
        Row(
            "    memory, with what moto keeps of it",
            f"{found.memory_mib:.0f} MiB more",
            f"≤ {memory_mb} MB",
            found.memory_mib <= memory_mb,
        ),
    ]
    return rows, asdict(found)


def console() -> Section:
    """The web console, in a browser."""
    from bench import console

    try:
        found = console.measure()
    except console.NotThere as error:
        return [Row("the console", f"not measured: {error}")], None
    sessions, entries = f"{console.SESSIONS:,} sessions", f"{console.ENTRIES:,} entries"

    def soon(what: str, ms: float, most_ms: int) -> Row:
        return Row(what, f"{ms:.0f} ms", f"≤ {most_ms} ms", ms <= most_ms)

    rows = [
        soon(f"a namespace of {sessions}: the first paint", found.first_paint_ms, 1000),
        Row("    all of its list", f"{found.rows_ms:.0f} ms"),
        soon(f"a session of {entries}: its timeline", found.lanes_ms, 1500),
        Row("    all of its events", f"{found.all_ms:.0f} ms"),
        Row("    scrolling them", f"{found.frames_per_s:.0f} frames a second", "60", found.frames_per_s >= 59),
        soon("    a message is on the screen after", found.shown_ms, 200),
    ]
    return rows, asdict(found)


def throughput() -> Section:
    """Throughput of the local stack."""
    from bench import throughput

    found, memory, missing = throughput.measure()
    rows = []
    for one in found:
        seen = f"{one.atoll['per_s']:.0f}/s"
        ahead = None
        if one.peer:
            seen += f", the peer {one.peer['per_s']:.0f}/s"
            seen += f" ({one.peer['wrong']} failed)" if one.peer["wrong"] else ""
            ahead = one.atoll["per_s"] > one.peer["per_s"] and not one.atoll["wrong"]
        rows.append(Row(f"{one.name}, {one.connections} connections", seen, "ahead of ADK", ahead))
    seen = ", ".join(f"{'the peer' if who == 'peer' else 'Atoll'} {mib:.0f} MiB" for who, mib in memory.items())
    rows.append(Row("memory after that", seen if missing is None else f"{seen}; no peer: {missing}"))
    return rows, {"rows": [asdict(one) for one in found], "memory_mib": memory, "missing": missing}


def money() -> Section:
    """Money, in us-east-1."""
    from bench import money

    found = money.measure()
    shape = f"{money.AGENTS} agents, {money.MESSAGES} messages, {money.MINUTES} minutes"
    rows = [
        Row(
            f"1,000 sessions of {shape}",
            f"${found.session * 1000:.2f}, of it waiting ${found.by_part['waiting'] * 1000:.2f}",
        ),
        Row(
            "of it the feed of their logs, which nobody follows",
            f"${found.by_part['the feed'] * 1000:.3f}",
            "≤ $0.05",
            found.by_part["the feed"] * 1000 <= 0.05,
        ),
        Row("the same with their Fargate tasks", f"${found.session_with_tasks * 1000:.2f}"),
        Row(
            "the same with agents that are functions, all in all",
            f"${found.session_functions * 1000:.2f}",
            "≤ $2.50",
            found.session_functions * 1000 <= 2.5,
        ),
        Row("1,000 sessions whose clients are held", f"${found.session_held * 1000:.2f}"),
        Row("a month at rest", f"${found.at_rest_month:.2f}"),
        Row(
            f"break-even with a server of ${found.server_month:.2f} a month",
            f"{found.break_even(found.session):,.0f} sessions a month; "
            f"{found.break_even(found.session_held):,.0f} with clients that are held",
        ),
        Row(
            "an hour of the smallest Fargate task",
            f"${found.task_hours['x86']:.5f}; Arm ${found.task_hours['arm']:.5f}",
        ),
    ]
    for way in found.ways:
        share, judged = found.share(way), way.name == money.DEPLOYED
        seen = f"${way.hour:.5f}: {share:.2f}x of the task's; delay {way.latency}"
        what = f"an hour of waiting: {way.name}{' (deployed)' if judged else ''}"
        rows.append(Row(what, seen, "≤ 0.2x" if judged else "", share <= 0.2 if judged else None))
    kept = {**asdict(found), "break_even_sessions_a_month": found.break_even(found.session)}
    return rows, kept


def waiting() -> Section:
    """An hour of one waiting agent, by client."""
    from bench import money, waiting

    price, rows, kept = money.prices(), [], []
    task = money.task_hour(price, "x86")
    for one in waiting.measure():
        if one.missing:
            rows.append(Row(one.client, f"not measured: {one.missing}"))
            continue
        hour = one.hour(price)
        share = hour / task
        seen = f"${hour:.5f}: {share:.2f}x of the task's; {len(one.requests)} requests, held for {one.held_s:.1f} s"
        limit = 0.2 if one.comes_back else None
        what = f"{one.client}, {'paused' if one.comes_back else 'held'}"
        rows.append(Row(what, seen, f"≤ {limit}x" if limit else "", share <= limit if limit else None))
        kept.append({"client": one.client, "hour": hour, "share": share, "held_s": one.held_s, **one.row()})
    return rows, kept


def scale() -> Section:
    """Scale on paper."""
    from bench import money, scale

    counts = money.count()
    life = counts.life.counted
    events = sum(call == "events:PutEvents" for call in life.calls)
    every = scale.quotas(len(life.calls), counts.life.transitions, events, life.write_units, len(counts.paused_wait))
    found = scale.measure(every)
    rows = []
    for rate in scale.RATES:
        first, second, *_ = [one for one in found if one.per_minute == rate]
        seen = f"{first.quota.name}: {first.load:,.2f}x"
        seen += f"; then {second.quota.name}: {second.load:,.2f}x"
        rows.append(Row(f"{rate:,} sessions a minute: fullest", seen))
    limits = sorted(scale.broken_at(every).items(), key=lambda one: one[1])
    return rows, {
        "outcomes": [{**asdict(one), "quota": one.quota.name} for one in found],
        "breaks_at_per_minute": dict(limits),
    }


def models() -> Section:
    """Calls of models."""
    from bench import models

    found = models.measure()
    rows = []
    for what, added, most_calls in (
        ("a call of a model", found.buffered, 3),
        (f"a stream of {models.PIECES} pieces", found.streamed, 3),
        ("a call with a budget", found.with_budget, 4),
    ):
        rows.append(Row(f"{what}: CPU", f"{added.cpu_ms:.1f} ms", "≤ 15 ms", added.cpu_ms <= 15))
        seen, holds = f"{added.dynamodb_calls} beside the read of who calls", added.dynamodb_calls <= most_calls
        rows.append(Row(f"{what}: DynamoDB calls", seen, f"≤ {most_calls}", holds))
    late = found.first_byte_ms
    rows.append(Row("first byte of a stream behind the provider's", f"{late:.1f} ms", "≤ 20 ms", late <= 20))
    return rows, found.row()


SECTIONS: list[Callable[[], Section]] = [
    cold_start,
    calls,
    handlers,
    growth,
    timers,
    turning,
    following,
    models,
    archiving,
    console,
    throughput,
    money,
    waiting,
    scale,
]


def machine() -> str:
    """Name this machine."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = f"{len(models)} CPUs: {models[0]}" if models else platform.processor()
    return f"{cpu}, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def main(wanted: list[str]) -> int:
    """Measure the wanted sections, print them, keep them."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    kept: dict[str, Any] = json.loads(RESULTS.read_text()) if wanted and RESULTS.exists() else {}
    table = Table(title=f"Atoll, measured on {machine()}", title_justify="left", show_lines=False)
    for column in ("", "what", "seen", "goal"):
        table.add_column(column, overflow="fold")
    for name, rows in _measured(console, wanted, kept):
        table.add_section()
        table.add_row("", f"[bold]{name}[/]", "", "")
        for row in rows:
            mark = {True: "[green]holds[/]", False: "[red]missed[/]", None: ""}[row.holds]
            table.add_row(mark, row.what, row.seen, row.goal)
    console.print(table)
    kept |= {"machine": machine(), "date": datetime.now(UTC).isoformat(timespec="seconds")}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    if missing := short.write():
        console.print(f"README.md keeps its table: not measured on this machine yet: {', '.join(sorted(missing))}")
    return 0


def _measured(console: Console, wanted: list[str], kept: dict[str, Any]) -> Iterator[tuple[str, list[Row]]]:
    for section in SECTIONS:
        if wanted and section.__name__ not in wanted:
            continue
        started = time.monotonic()
        with console.status(f"{section.__doc__}"):
            rows, figures = section()
        took_s = time.monotonic() - started
        console.print(f"[dim]{section.__name__}: {took_s:.0f} s[/]")
        kept[section.__name__] = {"rows": [asdict(row) for row in rows], "figures": figures, "took_s": round(took_s, 1)}
        yield (section.__doc__ or "").rstrip("."), rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
