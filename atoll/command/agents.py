"""Agents: the registry of a server, a check of an agent's file, and a new agent from a template."""

import re
import tomllib
from collections.abc import Iterator
from enum import StrEnum
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any

import typer

from atoll.command import completion
from atoll.command.project import checkout, needs_project
from atoll.command.servers import ServerName, connect
from atoll.command.terminal import AsJson, show, show_json, show_rows, tell, warn
from atoll.errors import AtollError

app = typer.Typer(no_args_is_help=True, help="Agents: register, check, make.")

FILE = "coral-agent.toml"

#: What stands for the name in templates.
PLACEHOLDER = "new-agent"

#: What the server takes of a file.
MOST_BYTES = 256 * 1024

AgentFile = Annotated[Path, typer.Argument(metavar="FILE", help=f"A {FILE}, or its folder.")]
Agent = Annotated[
    str,
    typer.Argument(metavar="NAME@VERSION", help="An agent of the registry.", autocompletion=completion.agents),
]


class Template(StrEnum):
    """Which agent is made."""

    #: Called once a turn.
    FUNCTION = "function"
    #: Prompts and a model, without a program.
    PROTOTYPE = "prototype"
    #: A program, which may be in a container.
    PYTHON = "python"
    TYPESCRIPT = "typescript"


@app.command("ls")
def list_agents(*, server: ServerName = None, as_json: AsJson = False) -> None:
    """List the registered agents."""
    with connect(server) as client:
        found = list(client.registry())
    if as_json:
        show_json(found)
        return
    show_rows(("agent", "versions"), ((each.name, ", ".join(each.versions)) for each in found))


@app.command("show")
def show_agent(agent: Agent, *, server: ServerName = None, as_json: AsJson = False) -> None:
    """Show an agent: what it says of itself, its runtimes, its options."""
    with connect(server) as client:
        found = client.registry_agent(*_identity(agent)).registry_agent
    if as_json:
        show_json(found)
        return
    show(f"{agent}: {found.info.summary or found.info.description or ''}")
    show(f"runs as {', '.join(found.runtimes.offered())}")
    _show_options(found)


@app.command()
def put(file: AgentFile, *, server: ServerName = None, as_json: AsJson = False) -> None:
    """Register an agent, or replace it. The server reads the file alone: what it refers to has to be in it."""
    text = _read(file)
    try:
        table = tomllib.loads(text)["agent"]
        name, version = str(table["name"]), str(table["version"])
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise AtollError(f"{file}: it has no name and version of an agent: {error}") from error
    with connect(server) as client:
        found = client.put_agent(name, version, text)
    show_json(found) if as_json else tell(f"{name}@{version} is registered.")


@app.command()
def rm(agent: Agent, *, server: ServerName = None) -> None:
    """Remove an agent that no running session uses."""
    with connect(server) as client:
        client.delete_agent(*_identity(agent))
    tell(f"{agent} is removed.")


@app.command()
def check(file: AgentFile, *, as_json: AsJson = False) -> None:
    """Check an agent's file without a server, and show what ECS would be given."""
    checkout("agents check")
    text = _read(file)
    with needs_project("agents check"):
        from chalicelib.domain.agent_files import parse, warning_of
        from chalicelib.domain.errors import AtollError as ServerError
    folder = file if file.is_dir() else file.parent
    try:
        agent = parse(text, folder)
    except ServerError as error:
        raise AtollError(str(error)) from error
    definition, warning = _definition(agent), warning_of(text)
    if warning:
        warn(warning)
    if as_json:
        wire = agent.shown().model_dump(mode="json", by_alias=True, exclude_none=True)
        show_json({"agent": wire, "taskDefinition": definition, "warning": warning})
        return
    identifier = agent.info.identifier
    show(f"{identifier.name}@{identifier.version} is right. It runs as {', '.join(agent.runtimes.offered())}.")
    _show_options(agent)
    if function := agent.runtimes.function:
        show(f"As a function: {function.function}.")
    if definition is None:
        if function is None:
            show("On AWS it cannot run: that takes [runtimes.docker] or [runtimes.function].")
        return
    container = definition["containerDefinitions"][0]
    architecture = definition["runtimePlatform"]["cpuArchitecture"]
    show(f"On ECS: {container['image']}, {definition['cpu']} CPU units, {definition['memory']} MiB, {architecture}.")


def _definition(agent: Any) -> dict[str, Any] | None:
    from chalicelib.aws.task_definitions import definition_of
    from chalicelib.settings import Settings
    from chalicelib.store.registry import RegistryAgentRecord

    if agent.runtimes.docker is None:
        return None
    identifier = agent.info.identifier
    record = RegistryAgentRecord(
        name=identifier.name,
        version=identifier.version,
        agent=agent.model_dump_json(by_alias=True, exclude_none=True),
        digest="",
        fargate=agent.fargate.model_dump(exclude_none=True) if agent.fargate else None,
        registered_at_ms=0,
        base_path=None,
    )
    return definition_of(record, "docker", Settings(), "us-east-1")


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Its name, and the name of its folder.")],
    *,
    template: Annotated[
        Template, typer.Option(help="A function, prompts and a model, or a program.")
    ] = Template.FUNCTION,
    into: Annotated[Path, typer.Option(help="Where the folder is made.")] = Path(),
) -> None:
    """Make a working agent, with a session to try it in."""
    if not re.fullmatch("[a-z0-9]([a-z0-9]*(-[a-z0-9]+)*)?", name) or len(name) > 32:
        raise AtollError(
            f"{name[:40]!r} is no name of an agent: 1 to 32 lower-case letters and digits, in words joined by hyphens"
        )
    folder = into / name
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise AtollError(f"{folder} is there already") from error
    for source in _files(template):
        (folder / source.name).write_text(source.read_text().replace(PLACEHOLDER, name))
    show(str(folder))
    for command in _next_commands(template, folder):
        tell(command)


def _next_commands(template: Template, folder: Path) -> Iterator[str]:
    """Yield what leads from a new agent to its first conversation."""
    if template is Template.TYPESCRIPT:
        yield f"npm install --prefix {folder}"
    if template is Template.PROTOTYPE:
        yield f"OPENAI_API_KEY=… atoll up {folder} --llm-proxy {folder}/models.toml     # in one terminal"
    else:
        yield f"atoll up {folder}                            # in one terminal"
    yield f"atoll run {folder}/session.yaml --follow     # in another"


def _files(template: Template) -> Iterator[Traversable]:
    folder = resources.files("atoll.command") / "templates" / template.value
    yield from (each for each in folder.iterdir() if each.is_file())


def _read(file: Path) -> str:
    path = file / FILE if file.is_dir() else file
    try:
        with path.open("rb") as opened:
            content = opened.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise AtollError(f"{path} has more than {MOST_BYTES} bytes")
        return content.decode()
    except OSError as error:
        raise AtollError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise AtollError(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error


def _identity(text: str) -> tuple[str, str]:
    name, at, version = text.partition("@")
    if not at or not name or not version:
        raise typer.BadParameter(f"{text!r} is not NAME@VERSION")
    return name, version


def _show_options(agent: Any) -> None:
    rows = []
    for name, option in agent.options.items():
        default = getattr(option, "default", None)
        shown = "secret" if getattr(option, "secret", False) else "" if default is None else str(default)
        rows.append((name, option.type, "required" if getattr(option, "required", False) else shown))
    if rows:
        show_rows(("option", "type", "default"), rows)
