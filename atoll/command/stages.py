"""What is done with a stage on AWS: deploy it, its keys, its secrets, its models.

All of it is code of the project's own (`infra`) with AWS's libraries: it is imported when it is used.
"""

import importlib
from typing import Any, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_command

from atoll.command.project import checkout, needs_project


class Stage(NamedTuple):
    """A part of the command that is elsewhere."""

    module: str
    help: str


#: Groups of commands, each the ``app`` of a module.
GROUPS = {
    "keys": Stage("infra.keys", "API keys of a stage, and quotas: make, list, rotate, limit, revoke."),
    "secrets": Stage("infra.webhook_secrets", "What signs webhooks of a stage, and encrypts secret options."),
    "models": Stage("infra.llm_proxy", "The models that agents of a stage may use, with the keys of their providers."),
}

#: Single commands, each the ``main`` of a module.
COMMANDS = {
    "deploy": Stage("infra.deploy.command", "Deploy, check, update, package or destroy a stage on AWS."),
    "smoke": Stage("infra.smoke.command", "Deploy a throwaway stage on AWS, check it, and destroy it."),
}


def loaded(name: str) -> Any:
    """Import a part and return it as a command; raises `AtollError` where that is not there, or AWS's libraries."""
    checkout(name)
    with needs_project(name):
        if name in GROUPS:
            return get_command(importlib.import_module(GROUPS[name].module).app)
        app = typer.Typer(add_completion=False)
        app.command(name)(importlib.import_module(COMMANDS[name].module).main)
        return get_command(app)


def _lazy(name: str) -> type[TyperGroup]:
    class Lazy(TyperGroup):
        """A group whose commands are imported when one of them is asked for."""

        def list_commands(self, ctx: Any) -> list[str]:
            """Name the commands."""
            return list(loaded(name).list_commands(ctx))

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            """Return a command; ``None`` for an unknown one."""
            return loaded(name).get_command(ctx, cmd_name)

    return Lazy


def _forwarded(name: str) -> Any:
    def forward(context: typer.Context) -> None:
        # By its own name in help and errors.
        loaded(name).main(args=context.args, prog_name=f"atoll {name}")

    return forward


def register(app: typer.Typer) -> None:
    """Put these commands into a program."""
    for name, part in COMMANDS.items():
        # What comes behind the name, `--help` too, is for the command itself.
        given = {"allow_extra_args": True, "ignore_unknown_options": True}
        register_command = app.command(name, help=part.help, add_help_option=False, context_settings=given)
        register_command(_forwarded(name))
    for name, part in GROUPS.items():
        app.add_typer(typer.Typer(cls=_lazy(name), no_args_is_help=True, help=part.help), name=name)
