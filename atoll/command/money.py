"""Budgets of a session: look at them, and change them."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from atoll.command.servers import ServerName, connect
from atoll.command.sessions import SessionName, find
from atoll.command.terminal import AsJson, show_json, show_rows, tell
from atoll.errors import NotFound

if TYPE_CHECKING:
    from atoll.models import Balance, Budgets


def usd(micro_usd: int) -> str:
    """Write millionths of a US dollar as dollars, with four places."""
    return f"{'-' if micro_usd < 0 else ''}${abs(micro_usd) / 1_000_000:.4f}"


def spent(budgets: "Budgets") -> str:
    """Say what is spent of a session's budget, or else of its agents'; nothing without budgets."""
    if budgets.session is not None:
        return f"{usd(budgets.session.spent)} of {usd(budgets.session.limit)} spent"
    of_agents = (f"{name} {usd(each.spent)} of {usd(each.limit)}" for name, each in budgets.agents.items())
    return ", ".join(of_agents)


def budget(
    session: SessionName,
    *,
    limit: Annotated[str | None, typer.Option("--limit", help="US dollars for the whole session.")] = None,
    agent: Annotated[
        list[str] | None, typer.Option("--agent", "-a", help="NAME=DOLLARS: another limit of an agent; again for more.")
    ] = None,
    on_reached: Annotated[
        str | None, typer.Option(help="What follows at these limits: refuse, stop_agent or close_session.")
    ] = None,
    server: ServerName = None,
    as_json: AsJson = False,
) -> None:
    """Show what a session and its agents may spend and have spent; or set other limits."""
    limits = _limits(limit, agent or [], on_reached)
    with connect(server) as client:
        namespace, session_id = find(client, session)
        if limits:
            found: Budgets | None = client.change_budget(namespace, session_id, limits)
        else:
            try:
                found = client.budget(namespace, session_id)
            except NotFound as gone:
                try:
                    found = client.historic_session(namespace, session_id).summary.budget
                except NotFound:
                    raise gone from None
    if as_json:
        show_json(found)
        return
    if found is None or not (found.session or found.agents):
        tell("It has no budget.")
        return
    rows = [("", found.session), *sorted(found.agents.items())]
    columns = ("agent", "limit", "spent", "held", "available")
    show_rows(columns, [(name or "(session)", *_amounts(balance)) for name, balance in rows if balance is not None])


def _amounts(balance: "Balance") -> tuple[str, ...]:
    return tuple(map(usd, (balance.limit, balance.spent, balance.held, balance.available)))


def _limits(limit: str | None, agents: list[str], on_reached: str | None) -> dict[str, Any]:
    more = {} if on_reached is None else {"onReached": on_reached}
    changed: dict[str, Any] = {}
    if limit is not None:
        changed["session"] = {"usd": limit, **more}
    for text in agents:
        name, equals, amount = text.rpartition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r} is not NAME=DOLLARS", param_hint="--agent")
        changed.setdefault("agents", {})[name] = {"usd": amount, **more}
    if on_reached is not None and not changed:
        raise typer.BadParameter("name a limit with it: --limit or --agent", param_hint="--on-reached")
    return changed


def register(app: typer.Typer) -> None:
    """Put this command into a program."""
    app.command("budget")(budget)
