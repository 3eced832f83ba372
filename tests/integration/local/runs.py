"""Runs of a local stack one after the other, with the same data."""

import shutil
from pathlib import Path

from infra.local.stack import LocalStack
from tests.agents import SLEEPER


def killed(stack: LocalStack, to: Path) -> None:
    """Leave in a folder what a kill would leave at this moment."""
    assert stack._data is not None
    assert stack._folder is not None
    with stack._data._lock:
        shutil.copytree(stack._folder, to)


def run(folder: Path, api_key: str = "dev") -> LocalStack:
    settings = {"webhook_retry_schedule_s": (3.0, 600.0)}
    return LocalStack(agents=[SLEEPER], api_key=api_key, data=folder, settings=settings)
