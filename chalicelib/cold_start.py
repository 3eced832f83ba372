"""Keeps the start of a Lambda function short. `app.py` calls it before it imports anything else of Atoll."""

import gc
import importlib.util
import os
import sys

#: What only some functions and some requests need: loaded when something of it is first used. Which function needs what
#: is stated in tests/unit/test_cold_start.py.
ON_USE = (
    *(
        f"chalicelib.domain.{name}"
        for name in (
            "actors",
            "agent_environment",
            "agents",
            "custom_tools",
            "deliveries",
            "events",
            "following",
            "graph",
            "history",
            "meeting",
            "nudges",
            "option_values",
            "options",
            "own_agents",
            "registry",
            "rental_claims",
            "summaries",
            "threads",
            "tokens",
            "waits",
            "webhooks",
        )
    ),
    *(
        f"chalicelib.reactions.{name}"
        for name in (
            "archive",
            "changes",
            "custom_tools",
            "deliveries",
            "entries",
            "launches",
            "lifecycle",
            "manager_events",
            "nudges",
            "reconciler",
            "reports",
            "signatures",
            "task_definitions",
            "turns",
        )
    ),
    "chalicelib.wire.events",
    "chalicelib.wire.logs",
    "chalicelib.wire.history",
    "chalicelib.wire.payments",
    "chalicelib.wire.registry",
    "chalicelib.wire.requests",
    "chalicelib.wire.webhooks",
)


def prepare() -> None:
    """Set up this process for a short start, if it is a function's; any other is left as it is.

    Not for a process with threads: until Python 3.12.3 two threads that use such a module for the first time may see it
    half loaded (https://github.com/python/cpython/issues/114763).
    """
    if "AWS_LAMBDA_FUNCTION_NAME" not in os.environ:
        return
    # What a start allocates lives as long as the process: looking at it 700 objects at a time finds nothing to free.
    gc.set_threshold(50_000)
    # Atoll has no plugins of pydantic's, and looking for them reads the metadata of every package that is installed.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    for name in ON_USE:
        _load_on_use(name)


def _load_on_use(name: str) -> None:
    """Put a module into place whose code runs when an attribute of it is first asked for."""
    if name in sys.modules:
        return
    parent, _, own_name = name.rpartition(".")
    package = importlib.import_module(parent)
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(name)
    loader = importlib.util.LazyLoader(spec.loader)
    spec.loader = loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    setattr(package, own_name, module)
