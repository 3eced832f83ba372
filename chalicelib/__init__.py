"""Atoll: Coral sessions over DynamoDB, Step Functions, ECS and EventBridge."""

import gc
import os

from chalicelib.on_use import load_on_use

# Atoll has no plugins of pydantic's, and looking for them reads the metadata of every package that is installed.
# What a start allocates lives as long as the process: looking at it 700 objects at a time finds nothing to free.
gc.set_threshold(50_000)

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")

# What only some functions and some requests need; tests/unit/test_cold_start.py says which need what.
load_on_use(
    "chalicelib.domain",
    "actors",
    "agents",
    "custom_tools",
    "graph",
    "lifecycle",
    "meeting",
    "options",
    "reactions",
    "reconciler",
    "registry",
    "reports",
    "threads",
    "waits",
    "webhooks",
)
load_on_use("chalicelib.wire", "registry", "requests")
