"""`atoll trigger`: a webhook that is real, of a session that ends at once."""

import enum
from typing import Annotated, Any

import typer

from atoll.command.servers import ServerName, connect
from atoll.command.terminal import AsJson, show, show_json, tell

#: Where a server takes a webhook that is only listened to.
SINK = "/api/v1/webhooks/sink"


class Reason(enum.StrEnum):
    """Why the session ends: those reasons of the history that a session can bring about at once."""

    AGENTS_EXITED = "agents_exited"
    CLOSED_BY_AGENT = "closed_by_agent"
    CLOSED_BY_USER = "closed_by_user"
    TTL = "ttl"


_WAITS = """
agents: {ann: {agent: puppet@1.0.0, runtime: function}}
"""

#: The session of each reason, as a file of `atoll run`; its agents are in every registry.
SESSIONS = {
    Reason.AGENTS_EXITED: """
agents:
  ann:
    agent: seed@1.0.0
    runtime: function
    options: {PARTICIPANTS: bob, MENTIONS: bob, SEED_MESSAGE_COUNT: 1}
  bob:
    agent: echo@1.0.0
    runtime: function
    options: {ITERATION_COUNT: 1}
ttl: 1m
""",
    Reason.CLOSED_BY_AGENT: """
agents:
  ann:
    agent: tool@1.0.0
    runtime: function
    mayClose: true
    options: {TOOL_NAME: coral_close_session, TOOL_INPUT: '{"reason": "all is said"}'}
ttl: 1m
""",
    Reason.CLOSED_BY_USER: f"{_WAITS}ttl: 1m",
    Reason.TTL: f"{_WAITS}ttl: 1s",
}


def trigger(
    reason: Annotated[Reason, typer.Argument(help="Why the session ends.")] = Reason.AGENTS_EXITED,
    *,
    namespace: Annotated[str, typer.Option("--namespace", "-n", help="Where it runs.")] = "trigger",
    url: Annotated[
        str | None, typer.Option(help="Where its end report goes; by default it is for `atoll hooks listen` alone.")
    ] = None,
    extended: Annotated[bool, typer.Option("--extended", help="Have the extended report.")] = False,
    server: ServerName = None,
    as_json: AsJson = False,
) -> None:
    """Run a session that ends at once, for its webhook: a real one, with a report, a history, and what it costs.

    It ends by its agents (agents_exited, closed_by_agent), by a user (closed_by_user), or by its time to live (ttl).
    """
    from atoll.command.session_file import SessionFile

    file = SessionFile(f"trigger {reason}", SESSIONS[reason])
    with connect(server) as client:
        about: dict[str, Any] = {"namespace": namespace, "webhook": url or client.place.url + SINK}
        file.content |= about | {"extendedReport": extended, "annotations": {"trigger": reason.value}}
        made = client.create_session(file.request(client))
        if reason is Reason.CLOSED_BY_USER:
            client.close_session(made.namespace, made.session_id)
    show_json(made) if as_json else show(f"{made.namespace}/{made.session_id}")
    tell(f"Its webhook comes in a moment: `atoll hooks listen {namespace} --since 1m` shows it.")


def register(app: typer.Typer) -> None:
    """Put this command into a program."""
    app.command("trigger")(trigger)
