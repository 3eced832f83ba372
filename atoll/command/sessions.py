"""Sessions: run, list, show, follow, speak in, stop."""

import contextlib
import time
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer
from rich.live import Live
from rich.text import Text

from atoll.command import completion
from atoll.command.lanes import Lanes
from atoll.command.lines import agent_line, plain
from atoll.command.project import checkout, needs_project
from atoll.command.servers import ServerName, connect
from atoll.command.terminal import AsJson, ago, console, show, show_json, show_rows, span, tell
from atoll.errors import AtollError, NotFound

if TYPE_CHECKING:
    from atoll.client import Client
    from atoll.models import HistoricSession, SessionStateBase

#: How many namespaces are looked through for an id, and how many characters of it are enough.
MOST_NAMESPACES = 1_000
FEWEST_CHARS = 4

#: Between two pictures of the lanes, in 1/s.
PICTURES_PER_S = 4

SessionName = Annotated[
    str,
    typer.Argument(
        metavar="SESSION",
        help="NAMESPACE/ID, or the beginning of the id of one that is there.",
        autocompletion=completion.sessions,
    ),
]


def find(client: "Client", text: str) -> tuple[str, str]:
    """Return the namespace and the id of the session that is meant; raises `AtollError` when it is not clear."""
    namespace, slash, session_id = text.rpartition("/")
    if slash:
        return namespace, session_id
    if len(text) < FEWEST_CHARS:
        raise AtollError(f"{text!r} is too short for an id: {FEWEST_CHARS} characters at least, or NAMESPACE/ID")
    found = []
    for number, each in enumerate(client.namespaces()):
        if number == MOST_NAMESPACES:
            raise AtollError(f"there are more than {MOST_NAMESPACES} namespaces: name it, NAMESPACE/ID")
        found += [(each.name, session.id) for session in client.sessions(each.name) if session.id.startswith(text)]
    if len(found) != 1:
        what = "no session that is there begins so" if not found else f"{len(found)} sessions begin so"
        raise AtollError(f"{text!r}: {what}; one that has ended is named NAMESPACE/ID")
    return found[0]


def run(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A session as YAML or JSON; - is standard input.")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show what happens, to the end.")] = False,
    namespace: Annotated[
        str | None,
        typer.Option("--namespace", "-n", help="In place of the file's.", autocompletion=completion.namespaces),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Look whether the file is right; start nothing.")] = False,
    print_schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of the file.")] = False,
    server: ServerName = None,
    as_json: AsJson = False,
) -> None:
    """Start a session from a file.

    With --follow the exit code says how it ended: 0 by its agents, 10 by its TTL, 11 by a user, 12 when it failed,
    13 with its namespace, 14 when an agent never connected.
    """
    from atoll.command.session_file import FileFault, SessionFile, schema

    if print_schema:
        show_json(schema())
        return
    if file is None:
        raise FileFault("name a file, or - for standard input")
    read = SessionFile.read(file)
    with connect(server) as client:
        request = read.request(client)
        if namespace is not None:
            request = _in_namespace(request, namespace)
        if check:
            show_json(request) if as_json else tell(f"{file} is right.")
            return
        made = client.create_session(request)
        if not follow:
            show_json(made) if as_json else show(f"{made.namespace}/{made.session_id}")
            tell(f"atoll tail {made.namespace}/{made.session_id}")
            return
        _follow(client, made.namespace, made.session_id, as_json=as_json)


def _in_namespace(request: Any, namespace: str) -> Any:
    provider = {"type": "create_if_not_exists", "namespaceRequest": {"name": namespace}}
    whole = request.model_dump(by_alias=True, exclude_none=True, mode="json") | {"namespaceProvider": provider}
    return type(request).model_validate(whole)


def tail(
    session: SessionName,
    *,
    after: Annotated[str, typer.Option(help="Go on behind this cursor of --json.")] = "0",
    server: ServerName = None,
    as_json: AsJson = False,
) -> None:
    """Follow a session to its end: what agents say and do, who waits, what it took. Of one that has ended, all of it.

    The exit code says how it ended, as that of `run --follow`.
    """
    with connect(server) as client:
        namespace, session_id = find(client, session)
        _follow(client, namespace, session_id, after=after, as_json=as_json)


def _follow(client: "Client", namespace: str, session_id: str, *, after: str = "0", as_json: bool) -> None:
    from atoll.command.endings import ending_of

    here = Lanes(_names(client, namespace, session_id))
    if as_json:
        for page in client.follow(namespace, session_id, after=after):
            for event in page.entries:
                here.take(event)
                show_json({"event": event})
            show_json({"cursor": page.cursor})
    else:
        _draw(client, namespace, session_id, after, here)
    ended = _historic(client, namespace, session_id)
    # Who goes on from a cursor has not seen all connections.
    ending = ending_of(ended, here.not_connected if after == "0" else ())
    if as_json:
        # The state and the report are in `atoll show`.
        left_out = {"state", "report"}
        kept = ended and ended.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=left_out)
        show_json({"ended": kept, "exitCode": ending.code})
    else:
        show(Text.assemble((f"{namespace}/{session_id}", "bold"), f" is over: {ending.words}{_took(ended)}"))
    raise typer.Exit(ending.code)


def _draw(client: "Client", namespace: str, session_id: str, after: str, here: Lanes) -> None:
    screen, reasons = console(), _StopReasons(client, namespace, session_id)
    tell(f"{client.place.url}/ui/console/{_place(namespace, session_id)}")
    with contextlib.ExitStack() as stack:
        if screen.is_terminal and screen.is_interactive:
            live = Live(here, console=screen, refresh_per_second=PICTURES_PER_S, transient=True)
            stack.enter_context(live)
        pages: Iterator[Any] = client.follow(namespace, session_id, after=after)
        for page in pages:
            if any(event.type == "llm_proxy_call" for event in page.entries):
                here.money = _money(client, namespace, session_id)
            for event in page.entries:
                line = here.take(event)
                if line is not None:
                    if event.type == "runtime_stopped":
                        line.append(reasons.words_for(event.name), style="dim")
                    screen.print(line, soft_wrap=True)


def _money(client: "Client", namespace: str, session_id: str) -> str:
    from atoll.command.money import spent

    try:
        return spent(client.budget(namespace, session_id))
    except NotFound:  # the session has gone meanwhile
        return ""


def _names(client: "Client", namespace: str, session_id: str) -> list[str]:
    try:
        return [agent.name for agent in client.agents(namespace, session_id)]
    except NotFound:
        return []


class _StopReasons:
    """Why agents of a session have stopped: in the listing of agents while it is there, in the history then."""

    def __init__(self, client: "Client", namespace: str, session_id: str) -> None:
        self._client = client
        self._session = namespace, session_id
        #: Those of the history, once it was read.
        self._kept: Mapping[str, str] | None = None

    def by_name(self) -> Mapping[str, str]:
        """Return the reason of each agent that has stopped."""
        if self._kept is None:
            try:
                agents = list(self._client.agents(*self._session))
                return {each.name: reason for each in agents if (reason := getattr(each.status, "reason", None))}
            except NotFound:
                ended = _historic(self._client, *self._session)
                self._kept = ended.stop_reasons if ended else {}
        return self._kept

    def words_for(self, name: str) -> str:
        """Return what is said behind `stopped`; nothing where no reason is known."""
        reason = self.by_name().get(name)
        return f": {plain(reason)}" if reason else ""


def _historic(client: "Client", namespace: str, session_id: str) -> "HistoricSession | None":
    try:
        return client.historic_session(namespace, session_id)
    except NotFound:
        return None


def _took(ended: "HistoricSession | None") -> str:
    if ended is None:
        return ""
    summary = ended.summary
    parts = [f"{summary.messages} messages", f"{summary.waits} waits"]
    if summary.run_ms is not None:
        parts.insert(0, span(summary.run_ms / 1000))
    if summary.budget is not None:
        from atoll.command.money import spent

        parts.append(spent(summary.budget))
    return f" ({', '.join(filter(None, parts))}, about ${summary.estimate.micro_usd / 1_000_000:.4f} of AWS)"


def _place(namespace: str, session_id: str) -> str:
    return f"#/ns/{quote(namespace, safe='')}/session/{quote(session_id, safe='')}"


def list_sessions(
    namespace: Annotated[
        str | None, typer.Argument(help="A namespace; all by default.", autocompletion=completion.namespaces)
    ] = None,
    *,
    annotation: Annotated[
        list[str] | None, typer.Option("--annotation", "-a", help="KEY=VALUE; again for more.")
    ] = None,
    server: ServerName = None,
    as_json: AsJson = False,
) -> None:
    """List the sessions that are there."""
    wanted = dict(_pair(text) for text in annotation or ())
    with connect(server) as client:
        names = [namespace] if namespace is not None else [each.name for each in client.namespaces()]
        found = [session for name in names for session in _sessions(client, name, wanted, named=namespace is not None)]
    found.sort(key=lambda session: session.timestamp, reverse=True)
    if as_json:
        show_json(found)
        return
    now_ms = int(time.time() * 1000)
    show_rows(
        ("session", "status", "created", "annotations"),
        (
            (f"{each.namespace}/{each.id}", each.status.type, ago(each.timestamp, now_ms), _pairs(each.annotations))
            for each in found
        ),
    )
    if not found:
        tell("There are no sessions. `atoll run FILE` starts one; `atoll history NAMESPACE` has those that have ended.")


def _sessions(client: "Client", namespace: str, wanted: dict[str, str], *, named: bool) -> "list[SessionStateBase]":
    try:
        return list(client.sessions(namespace, annotations=wanted))
    except NotFound:  # it went while the others were read
        if named:
            raise
        return []


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is not KEY=VALUE")
    return key, value


def _pairs(annotations: dict[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in annotations.items())


def show_session(session: SessionName, *, server: ServerName = None, as_json: AsJson = False) -> None:
    """Show a session with its agents and conversations, also of one that has ended."""
    with connect(server) as client:
        namespace, session_id = find(client, session)
        try:
            state = client.extended_session(namespace, session_id)
        except NotFound as gone:
            ended = _historic(client, namespace, session_id)
            if ended is None:
                raise gone from None
            state = ended.state
            if as_json:
                show_json(ended)
                return
        if as_json:
            show_json(state)
            return
        reasons = _StopReasons(client, namespace, session_id).by_name()
    base, now_ms = state.base, int(time.time() * 1000)
    show(Text.assemble((f"{base.namespace}/{base.id}", "bold"), f" {base.status.type}, {ago(base.timestamp, now_ms)}"))
    show_rows(
        ("agent", "", "status", "links"),
        (
            (
                agent.name,
                f"{agent.registry_agent_identifier.name} {agent.registry_agent_identifier.version}",
                f"stopped: {reasons[agent.name]}" if agent.name in reasons else _status(agent.status),
                ", ".join(agent.links),
            )
            for agent in state.agents
        ),
    )
    for thread in state.threads:
        closed = f": {thread.state.summary}" if thread.state.state == "closed" else ""
        show(plain(f"\n“{thread.name}” ({', '.join(thread.participants)}), {thread.state.state}{closed}"))
        for message in thread.messages:
            for line in message.text.splitlines():
                show(agent_line(message.sender_name, line))


def _status(status: Any) -> str:
    connection = getattr(status, "connection_status", None)
    if connection is None:
        return str(status.type)
    communication = getattr(connection, "communication_status", None)
    return str(communication.type if communication else connection.type).replace("_", " ")


def logs(
    session: SessionName,
    *,
    agent: Annotated[
        list[str] | None,
        typer.Option(
            "--agent", "-a", help="Of this agent; again for more.", autocompletion=completion.agents_of_session
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, to the end.")] = False,
    stage: Annotated[
        str | None, typer.Option(help="Read CloudWatch of this stage, with your credentials of AWS.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.1, help="With --stage: how far back to look.")] = 24,
    region: Annotated[str | None, typer.Option(help="With --stage: AWS region.")] = None,
    profile: Annotated[str | None, typer.Option(help="With --stage: profile of your AWS configuration.")] = None,
    server: ServerName = None,
    as_json: AsJson = False,
) -> None:
    """Show what the agents of a session print; of one that has ended, its last lines.

    With --stage all of it, for as long as CloudWatch keeps it: SESSION is the whole id then.
    """
    if stage is not None:
        checkout("logs --stage")
        with needs_project("logs --stage"):
            from infra import logs as of_stage
        whose = {"hours": hours, "follow": follow, "as_json": as_json, "region": region, "profile": profile}
        of_stage.show(session.rpartition("/")[2], stage, agent or (), **whose)  # type: ignore[arg-type]
        return
    from atoll.flows import speaker_of

    wanted = agent or []
    alone = wanted[0] if len(wanted) == 1 else None
    with connect(server) as client:
        namespace, session_id = find(client, session)
        pages = client.follow_logs(namespace, session_id, agent=alone)
        if not follow:
            pages = _there(client, namespace, session_id, alone)
        for page in pages:
            for event in page.entries:
                if not wanted or speaker_of(event) in wanted:
                    show_json(event) if as_json else show(agent_line(speaker_of(event), event.text))


def _there(client: "Client", namespace: str, session_id: str, agent: str | None) -> Iterator[Any]:
    """Give the lines that are there now."""
    read: Callable[..., Any] = client.logs
    cursor = "0"
    gone: NotFound | None = None
    while True:
        try:
            page = read(namespace, session_id, agent=agent, after=cursor)
        except NotFound as error:
            if gone is not None:
                raise gone from None
            gone, read, cursor = error, client.historic_logs, "0"
            continue
        yield page
        if not page.entries and page.cursor in (None, cursor):
            return
        cursor = page.cursor


def say(
    session: SessionName,
    agent: Annotated[str, typer.Argument(help="In whose name.", autocompletion=completion.agents_of_session)],
    text: Annotated[str, typer.Argument(help="What to say.")],
    *,
    to: Annotated[list[str] | None, typer.Option("--to", "-t", help="Who is mentioned; again for more.")] = None,
    thread: Annotated[
        str | None, typer.Option(help="Name or id of a thread; a new one of that name is opened.")
    ] = None,
    server: ServerName = None,
    as_json: AsJson = False,
) -> None:
    """Say something in an agent's name. Without --thread a new one is opened, with those who are mentioned."""
    mentions = to or []
    with connect(server) as client:
        namespace, session_id = find(client, session)
        known = [each for each in client.threads(namespace, session_id) if each.state.state == "open"] if thread else []
        there = next((each.id for each in reversed(known) if thread in (each.id, each.name)), None)
        if there is None:
            name = thread or " ".join(text.split()[:6])[:60] or "a word"
            there = client.create_thread(namespace, session_id, agent, name, mentions).id
        message = client.send_message(namespace, session_id, agent, thread_id=there, text=text, mentions=mentions)
    show_json(message) if as_json else tell(f"sent, in the thread {there}")


def stop(
    session: SessionName,
    *,
    agent: Annotated[
        str | None,
        typer.Option("--agent", "-a", help="End this agent alone.", autocompletion=completion.agents_of_session),
    ] = None,
    server: ServerName = None,
) -> None:
    """Close a session, or end one of its agents."""
    with connect(server) as client:
        namespace, session_id = find(client, session)
        if agent is not None:
            client.end_agent(namespace, session_id, agent)
            tell(f"{agent} is ended.")
            return
        client.close_session(namespace, session_id)
        tell(f"{namespace}/{session_id} is closing.")


def history(
    namespace: Annotated[
        str, typer.Argument(help="A namespace, also one that is gone.", autocompletion=completion.namespaces)
    ],
    *,
    reason: Annotated[str | None, typer.Option(help="Only those that ended so, such as ttl or failed.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 50,
    server: ServerName = None,
    as_json: AsJson = False,
) -> None:
    """List sessions that have ended, the last one first."""
    with connect(server) as client:
        found = [entry for entry, _ in zip(client.history(namespace, reason=reason), range(limit), strict=False)]
    if as_json:
        show_json(found)
        return
    now_ms = int(time.time() * 1000)
    show_rows(
        ("session", "ended by", "", "ran", "messages"),
        (
            (
                f"{each.namespace}/{each.session_id}",
                each.reason,
                ago(each.summary.closing_at or each.summary.created_at, now_ms),
                span((each.summary.run_ms or 0) / 1000),
                str(each.summary.messages),
            )
            for each in found
        ),
    )


def open_console(
    session: Annotated[
        str | None,
        typer.Argument(help="A session; the console's first page by default.", autocompletion=completion.sessions),
    ] = None,
    *,
    show_url: Annotated[bool, typer.Option("--print", help="Print the address; open nothing.")] = False,
    server: ServerName = None,
) -> None:
    """Open the console in a browser, at a session if one is named."""
    with connect(server) as client:
        place = _place(*find(client, session)) if session else ""
        url = f"{client.place.url}/ui/console/{place}"
    if show_url or not webbrowser.open(url):
        show(url)


def register(app: typer.Typer) -> None:
    """Put these commands into a program."""
    commands: dict[str, Callable[..., None]] = {
        "run": run,
        "ls": list_sessions,
        "show": show_session,
        "tail": tail,
        "logs": logs,
        "say": say,
        "stop": stop,
        "history": history,
        "open": open_console,
    }
    for name, command in commands.items():
        app.command(name)(command)
