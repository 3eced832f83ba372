"""The command as a whole: which subcommands there are."""

from typing import Annotated

import typer

from atoll.command import agents, doctor, hooks, machine, money, servers, sessions, stages, trigger
from atoll.command.terminal import show
from atoll.version import VERSION

app = typer.Typer(
    name="atoll",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # they may be keys
    help="Everything that a person does with Atoll: on this machine, on a server, on AWS.",
)


def _version(wanted: bool) -> None:
    if wanted:
        show(f"atoll {VERSION}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


machine.register(app)
sessions.register(app)
money.register(app)
stages.register(app)
doctor.register(app)
trigger.register(app)
app.add_typer(agents.app, name="agents")
app.add_typer(hooks.app, name="hooks")
app.add_typer(servers.app, name="servers")
