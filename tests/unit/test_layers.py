"""Imports point one way (docs/architecture.md, "Layers"), and code that answers a request cannot reach a service.

The types hold the second rule: a fact takes `Stores`, which has no service. The imports show that no module reaches
`Services` another way. Each rule is seen to fail below on code that breaks it.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from chalicelib.stores import Stores

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "chalicelib"

_BASE = {"wire", "clock", "settings", "telemetry", "version"}
_FACTS = _BASE | {"domain", "store", "stores"}

#: Each layer, and what it may import from besides itself: layers, or single modules of a layer.
ALLOWED = {
    "wire": set(),
    "store": {"wire", "clock", "settings"},
    "aws": {"wire", "clock", "settings", "store"},
    "domain": _FACTS | {"aws.task_overrides"},
    "reactions": _FACTS | {"aws", "services"},
    "agents": _FACTS | {"mcp.tools"},
    "mcp": _FACTS | {"aws.errors"},
    "api": _FACTS | {"aws.errors", "mcp"},
    # Calling a model for an agent is an exception, and all of this room.
    "models": _FACTS | {"aws.errors", "aws.http", "services"},
    "live": _FACTS | {"api.cors", "api.credentials", "api.errors", "api.same_origin"},
    "workers": _FACTS | {"aws", "services", "reactions", "mcp", "models"},
}

#: The named exceptions to the second rule, each in one place: which module may import what besides.
EXCEPTIONS = {
    "api/logs.py": {"services"},  # reading logs
    "api/payments.py": {"services", "reactions.x402"},  # a call of a resource that an agent names
    "api/puppet.py": {"services", "reactions.launches"},  # ending a single agent: StopTask, after its write
    "api/deliveries.py": {"services", "reactions.deliveries"},  # the secret that signs a delivery, its body in S3
    "api/history.py": {"services", "reactions.archive"},  # archives of sessions: read from S3, and deleted there
    "agents/prototype/model.py": {"models"},  # an agent that calls a model is what a prototype is
    "agents/prototype/tools.py": {"mcp.resources"},
    "agents/prototype/tool_servers.py": {"aws.http"},  # servers that its author names
    "reactions/turns.py": {"agents"},  # calling a function of Atoll's own, which acts as an agent does
    "mcp/tools.py": {
        "services",
        "reactions.custom_tools",
    },  # a custom tool: the secret that signs it, the call
}

#: What of the store's inside others may use: sizes, limits, and the error of a throttle that lasts.
OPEN_ITEMS = {"size_of", "BATCH_GET_ITEMS", "Unprocessed"}


def modules() -> list[Path]:
    return sorted(path for path in LIBRARY.rglob("*.py") if path.parent != LIBRARY)


def imported(source: str) -> Iterator[tuple[str, str]]:
    """Yield each module of `chalicelib` that a text imports at run time, inside functions too, with the name taken.

    ``from chalicelib.domain import threads`` is ``("domain.threads", "")``; what is for type checkers alone is not.
    """
    tree = ast.parse(source)
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "chalicelib":
            module = node.module.removeprefix("chalicelib").removeprefix(".")
            for alias in node.names:
                path = LIBRARY.joinpath(*module.split("."), f"{alias.name}.py") if module else None
                if path is None:
                    yield alias.name, ""
                elif path.exists():
                    yield f"{module}.{alias.name}", ""
                else:
                    yield module, alias.name
        elif isinstance(node, ast.Import):
            yield from (
                (a.name.removeprefix("chalicelib."), "") for a in node.names if a.name.startswith("chalicelib.")
            )


def offences(place: str, source: str) -> list[str]:
    """Return what a module imports and may not; ``place`` is its path in the library."""
    room = place.split("/", maxsplit=1)[0]
    allowed = ALLOWED[room] | {room} | EXCEPTIONS.get(place, set())
    found = []
    for module, name in imported(source):
        inside_store = room == "store" or not module.startswith("store.")
        if not ({module, module.split(".")[0]} & allowed):
            found.append(f"imports {module}")
        elif not inside_store and (module == "store.table" or (module == "store.items" and name not in OPEN_ITEMS)):
            found.append(f"imports {name or module} out of the store's inside")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_point_one_way(path: Path) -> None:
    assert not offences(path.relative_to(LIBRARY).as_posix(), path.read_text())


@pytest.mark.parametrize(
    ("place", "source"),
    [
        ("domain/sessions.py", "from chalicelib.services import Services"),
        ("domain/sessions.py", "def close() -> None:\n    from chalicelib import services"),
        ("domain/sessions.py", "from chalicelib.aws.machines import Machines"),
        ("domain/sessions.py", "import chalicelib.reactions.lifecycle"),
        ("domain/sessions.py", "from chalicelib.store.table import Table"),
        ("reactions/reconciler.py", "from chalicelib.store.items import decode"),
        ("reactions/lifecycle.py", "from chalicelib.api import routing"),
        ("api/sessions.py", "from chalicelib.reactions import launches"),
        ("api/puppet.py", "from chalicelib.reactions import lifecycle"),
        ("api/logs.py", "from chalicelib.aws.session_logs import CloudWatchLogs"),
        ("mcp/methods.py", "from chalicelib.services import current"),
        ("agents/echo.py", "from chalicelib.services import Services"),
        ("reactions/lifecycle.py", "from chalicelib import agents"),
        ("store/sessions.py", "from chalicelib.domain import errors"),
        ("wire/sessions.py", "from chalicelib.settings import Settings"),
    ],
)
def test_an_import_that_breaks_a_rule_is_found(place: str, source: str) -> None:
    assert offences(place, source)


def _reaches_for_a_service(stores: Stores) -> None:
    """Never called: mypy refuses each line, and would report an ignore that it does not need."""
    stores.machines.end_run("token")  # type: ignore[attr-defined]
    stores.tasks.stop("arn", reason="")  # type: ignore[attr-defined]
    stores.bus.publish("kind", {})  # type: ignore[attr-defined]
    stores.secrets.get("agent-key")  # type: ignore[attr-defined]
    stores.http.post("https://host", b"", {})  # type: ignore[attr-defined]
    stores.session_logs.read("ns", "id", None, "0")  # type: ignore[attr-defined]
