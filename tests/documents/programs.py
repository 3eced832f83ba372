"""What can be said of a command line without running it: whether its program would know what it names.

Each check takes the arguments and the folder that they are given in, and raises `Wrong`.
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import re
import shlex
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import botocore.exceptions
import botocore.session
import typer
from botocore import xform_name
from typer.main import get_command

from app import app as api
from atoll.command import stages
from atoll.command.program import app as atoll
from tests.documents.blocks import ROOT


class Wrong(Exception):
    """A command line that its program would refuse; the message says why."""


def check(name: str, arguments: Sequence[str], folder: Path) -> None:
    """Check a command line of a program that is in `CHECKS`."""
    CHECKS[name](list(arguments), folder)


def check_mention(text: str) -> None:
    """Check a command that a sentence mentions: it need not be whole, but what it names has to be there."""
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        return
    name, *rest = words or [""]
    if name == "atoll":
        _mentioned(rest)
    elif name == "make" or rest[:1] == ["-m"]:
        check(name.rpartition("/")[2], rest, ROOT)


# atoll


@cache
def _program() -> Any:
    return get_command(atoll)


def _subcommand(context: Any, command: Any, words: list[str]) -> tuple[str, Any, list[str]]:
    name, found, rest = command.resolve_command(context, words)
    return name, stages.loaded(name) if name in stages.COMMANDS else found, rest


#: What acts when it is parsed, and is an option of the whole program.
_AT_ONCE = (["--install-completion"], ["--show-completion"])


def _atoll(arguments: list[str], folder: Path) -> None:
    if arguments in _AT_ONCE:
        return
    command, name, rest = _program(), "atoll", arguments
    try:
        with contextlib.chdir(folder):
            context = command.make_context(name, rest)
            while hasattr(command, "resolve_command"):
                name, command, rest = _subcommand(context, command, [*context._protected_args, *context.args])
                context = command.make_context(name, rest, parent=context)
    except typer.Exit:
        return  # --help, --version
    except Exception as error:
        raise Wrong(getattr(error, "message", None) or str(error) or "a command is missing") from error


def _mentioned(words: list[str]) -> None:
    if words in _AT_ONCE:
        return
    command, context = _program(), typer.Context(_program())
    while words and hasattr(command, "resolve_command") and re.fullmatch("[a-z-]+", words[0]):
        try:
            _, command, words = _subcommand(context, command, words)
        except Exception as error:
            raise Wrong(str(error)) from error
        context = typer.Context(command)
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
    for word in words:
        if re.match("--?[a-z]", word) and word.partition("=")[0] not in known:
            raise Wrong(f"No such option: {word}")


# aws

#: What its options are besides those of the call: https://docs.aws.amazon.com/cli/latest/reference/
_GLOBAL = {"region", "profile", "output", "query", "cli-input-json", "no-cli-pager"}

#: Commands that are not calls of the API.
_OWN: dict[tuple[str, str], set[str]] = {
    ("cloudformation", "package"): {
        "template-file",
        "s3-bucket",
        "s3-prefix",
        "kms-key-id",
        "output-template-file",
        "use-json",
        "force-upload",
        "metadata",
    },
    ("cloudformation", "deploy"): {
        "template-file",
        "stack-name",
        "s3-bucket",
        "force-upload",
        "s3-prefix",
        "kms-key-id",
        "parameter-overrides",
        "capabilities",
        "no-execute-changeset",
        "disable-rollback",
        "role-arn",
        "notification-arns",
        "fail-on-empty-changeset",
        "tags",
    },
    ("ecr", "get-login-password"): set(),
    ("logs", "tail"): {"since", "follow", "format", "filter-pattern", "log-stream-names"},
}

_NONE: set[str] = set()

#: What it calls services that botocore calls otherwise.
_RENAMED = {"s3api": "s3", "deploy": "codedeploy", "configservice": "config"}

#: Options that stand for a part of a call.
_ADDED = {("lambda", "create-function"): {"zip-file"}, ("lambda", "update-function-code"): {"zip-file"}}


@cache
def _service(name: str) -> Any:
    try:
        return botocore.session.Session().get_service_model(_RENAMED.get(name, name))
    except botocore.exceptions.UnknownServiceError as error:
        raise Wrong(f"aws has no service {name}") from error


def _aws(arguments: list[str], folder: Path) -> None:
    if len(arguments) < 2:
        raise Wrong("aws takes a service and a command")
    service, command = arguments[:2]
    options = [word[2:].partition("=")[0] for word in arguments[2:] if word.startswith("--")]
    if (service, command) in _OWN:
        known, required = _OWN[service, command], _NONE
    else:
        known, required = _of_the_call(service, command)
    for option in options:
        if option not in known | _GLOBAL and option.removeprefix("no-") not in known:
            raise Wrong(f"aws {service} {command} has no option --{option}")
    if missing := required - {*options}:
        raise Wrong(f"aws {service} {command} needs --{sorted(missing)[0]}")


def _of_the_call(service: str, command: str) -> tuple[set[str], set[str]]:
    model = _service(service)
    calls = {xform_name(name, "-"): name for name in model.operation_names}
    if command not in calls:
        raise Wrong(f"aws {service} has no command {command}")
    shape = model.operation_model(calls[command]).input_shape
    if shape is None:
        return set(), set()
    known = {xform_name(name, "-") for name in shape.members} | _ADDED.get((service, command), set())
    required = {xform_name(name, "-") for name in shape.required_members}
    return known, required - ({"code"} if (service, command) in _ADDED else set())


# curl

_WITH_A_BODY = {"-d", "--data", "--data-binary", "--json"}


@cache
def _routes() -> list[tuple[re.Pattern[str], set[str]]]:
    return [(re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), {*methods}) for path, methods in api.routes.items()]


def check_route(method: str, path: str) -> None:
    """Check that the API has a path, without its query."""
    methods = {method for pattern, methods in _routes() if pattern.fullmatch(path) for method in methods}
    if not methods:
        raise Wrong(f"the API has no path {path}")
    if method not in methods:
        raise Wrong(f"{path} takes {', '.join(sorted(methods - {'OPTIONS'}))}, not {method}")


def _curl(arguments: list[str], folder: Path) -> None:
    method = "POST" if _WITH_A_BODY & {*arguments} else "GET"
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word in ("-X", "--request"):
            method = following
        if word in _WITH_A_BODY and following.startswith("@"):
            _exists(folder, following[1:])
    urls = [word for word in arguments if "/api/v1/" in word and not word.startswith(("{", "-"))]
    for url in urls:
        check_route(method, "/api/v1/" + url.partition("/api/v1/")[2].partition("?")[0])


# what the project has


def _exists(folder: Path, name: str) -> None:
    if not (folder / Path(name).expanduser()).exists():
        raise Wrong(f"there is no {name}")


def _make(arguments: list[str], folder: Path) -> None:
    text = (ROOT / "Makefile").read_text()
    targets = {*re.findall(r"^([a-z]+):", text, re.MULTILINE)}
    for word in arguments:
        name, assigned, value = word.partition("=")
        if assigned and not re.search(rf"\b{name}\b", text):
            raise Wrong(f"make reads no {name}")
        if name == "LLM_PROXY":
            _exists(folder, value)
        if not assigned and name not in targets:
            raise Wrong(f"make has no target {name}")


def _python(arguments: list[str], folder: Path) -> None:
    if arguments[:1] == ["-m"]:
        module = arguments[1]
        try:
            found = importlib.util.find_spec(module) is not None
            package = found and importlib.util.find_spec(f"{module}.__main__") is not None
        except ModuleNotFoundError:
            found, package = "__path__" not in vars(importlib.import_module(module)) if found else False, False
        if not found or not (package or _runs(module)):
            raise Wrong(f"python has no program {module}")
    elif arguments and not arguments[0].startswith("-"):
        _exists(folder, arguments[0])


def _runs(module: str) -> bool:
    """Return whether a module does something when it is the program, not only when it is imported."""
    spec = importlib.util.find_spec(module)
    return bool(spec and spec.origin and "__main__" in Path(spec.origin).read_text())


def _pip(arguments: list[str], folder: Path) -> None:
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word in ("-r", "--requirement"):
            _exists(folder, following)
        name, pinned, version = word.partition("==")
        if pinned and _installed(name) not in (None, version):
            raise Wrong(f"the tests have {name} {_installed(name)}")


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _npm(arguments: list[str], folder: Path) -> None:
    known = json.loads((ROOT / "tests/clients/typescript/package.json").read_text())["dependencies"]
    for word in arguments:
        name, pinned, version = word.rpartition("@")
        if pinned and name in known and known[name] != version:
            raise Wrong(f"the tests have {name} {known[name]}")


def _docker(arguments: list[str], folder: Path) -> None:
    if arguments[0] == "build":
        *options, context = arguments[1:]
        _exists(folder, context)
        for word, following in zip(options, [*options[1:], ""], strict=True):
            if word in ("-f", "--file"):
                _exists(folder, following)
    elif arguments[0] not in ("tag", "push", "pull", "login", "run", "logs"):
        raise Wrong(f"docker has no command {arguments[0]}")


def _anything(arguments: list[str], folder: Path) -> None:
    """Programs that are somebody else's, and not installed."""


#: The programs that are looked at, and not run, in a block that is not run.
CHECKS: dict[str, Callable[[list[str], Path], None]] = {
    "atoll": _atoll,
    "aws": _aws,
    "curl": _curl,
    "docker": _docker,
    "make": _make,
    "pip": _pip,
    "python": _python,
    "python3": _python,
    "npm": _npm,
    "npx": _anything,
    "pipx": _anything,
}
