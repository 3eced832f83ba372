"""Writes what is made of the command `atoll`: ``python -m tests.cli_reference``.

That is `docs/cli.md`, below its line, and the schema of the files of `atoll run`; tests compare both.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer import Context
from typer.main import get_command

from atoll.command import stages
from atoll.command.program import app
from atoll.command.session_file import schema

ROOT = Path(__file__).parent.parent
PAGE, SCHEMA = ROOT / "docs/cli.md", ROOT / "docs/session.schema.json"

#: What is below this is made.
LINE = "<!-- made by python -m tests.cli_reference -->\n"


def reference() -> str:
    """Return the part of the page that is made."""
    return "\n".join(line for name, command in commands().items() for line in _described(command, f"atoll {name}"))


def commands() -> dict[str, Any]:
    """Return each command that can be run, by the words that name it behind `atoll`."""
    return dict(_leaves(get_command(app), ""))


def _leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    if name in stages.COMMANDS:
        command = stages.loaded(name)
    if not hasattr(command, "list_commands"):
        yield name, command
        return
    context = Context(command)
    for each in command.list_commands(context):
        yield from _leaves(command.get_command(context, each), f"{name} {each}".strip())


def _described(command: Any, name: str) -> Iterator[str]:
    parameters = [each for each in command.params if not getattr(each, "hidden", False)]
    arguments = [each for each in parameters if each.param_type_name == "argument"]
    options = [each for each in parameters if each.param_type_name == "option" and each.name != "help"]
    usage = " ".join([name, *map(_argument, arguments), *(["[OPTIONS]"] if options else [])])
    yield f"### {name}\n\n```text\n{usage}\n```\n\n{_paragraphs(command.help or '')}\n"
    rows = [(_argument(each), each.help) for each in arguments if each.help]
    rows += [(", ".join([*each.opts, *each.secondary_opts]), _option_help(each)) for each in options]
    if rows:
        yield "| | |\n|---|---|"
        yield from (f"| `{names}` | {(text or '').replace('|', chr(92) + '|')} |" for names, text in rows)
        yield ""


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name = name if argument.nargs != -1 else f"{name}..."
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _option_help(option: Any) -> str:
    envvar = f" Also `{option.envvar}`." if option.envvar else ""
    return f"{option.help or ''}{envvar}"


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))


def main() -> None:
    """Write both."""
    head = PAGE.read_text().partition(LINE)[0]
    PAGE.write_text(head + LINE + "\n" + reference())
    SCHEMA.write_text(json.dumps(schema(), indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
