"""The packaged app, made once in a process: what a pipeline would deploy."""

import atexit
import functools
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from infra.deploy import package

STAGE = "dev"


@functools.cache
def folder() -> Path:
    """Return a folder with ``template.json``, ``deployment.zip`` and the Chalice project that they were made of."""
    made = Path(tempfile.mkdtemp(prefix="atoll-package-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    # As a person names a folder: Chalice works in another one.
    package.make(Path(os.path.relpath(made)), STAGE)
    return made


def template() -> dict[str, Any]:
    """Return the packaged template."""
    return dict(json.loads((folder() / "template.json").read_text()))
