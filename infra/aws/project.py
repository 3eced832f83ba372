"""The Chalice project of one stage: the app, with the stage's settings and its functions' policies filled in.

The repository's own ``.chalice`` holds what is the same for everybody; what is known only of one account (its number,
its subnets, the URLs of its doors) goes into a copy, so that deploying changes no file of the repository.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

Config = dict[str, Any]

#: What a function may do besides when X-Ray traces it. Neither action knows resources.
TRACING = {
    "Sid": "Trace",
    "Effect": "Allow",
    "Action": ["xray:PutTelemetryRecords", "xray:PutTraceSegments"],
    "Resource": ["*"],
}


class UnknownStage(Exception):
    """The configuration has no such stage."""


def config() -> Config:
    """Return the configuration that is the same for everybody."""
    return dict(json.loads((ROOT / ".chalice/config.json").read_text()))


def functions() -> list[str]:
    """Return the names of the functions, the REST API's (``api_handler``) first."""
    return list(config()["lambda_functions"])


def of_stage(stage: str, environment: Mapping[str, str], *, traced: bool, limits: Mapping[str, int | None]) -> Config:
    """Return the configuration of one stage.

    ``environment`` is what every function is told besides; ``limits`` replaces reserved concurrency, ``None`` by none.

    Raises `UnknownStage`.
    """
    whole = config()
    if stage not in whole["stages"]:
        known = ", ".join(whole["stages"])
        raise UnknownStage(f"there is no stage {stage!r} in .chalice/config.json, only {known}: add it there")
    wanted = whole["stages"][stage]
    wanted["environment_variables"] |= environment
    wanted["xray"] = traced
    for name, limit in limits.items():
        settings = wanted["lambda_functions"].setdefault(name, {})
        settings.pop("reserved_concurrency", None)
        if limit is not None:
            settings["reserved_concurrency"] = limit
    return {**whole, "stages": {stage: wanted}}


def api_stage(stage: str) -> str:
    """Return the last part of the REST API's URL."""
    return str(config()["stages"][stage]["api_gateway_stage"])


def reserved(stage: str) -> dict[str, int]:
    """Return the reserved concurrency of each function that has one."""
    functions_of_stage = config()["stages"].get(stage, {}).get("lambda_functions", {})
    return {
        name: settings["reserved_concurrency"]
        for name, settings in functions_of_stage.items()
        if "reserved_concurrency" in settings
    }


def policy(function: str, names: Mapping[str, str]) -> dict[str, Any]:
    """Return a function's policy with ``${Stage}``, ``${Account}``, ``${Region}`` and ``${Partition}`` filled in."""
    text = (ROOT / ".chalice" / config()["lambda_functions"][function]["iam_policy_file"]).read_text()
    for name, value in names.items():
        text = text.replace("${" + name + "}", value)
    return dict(json.loads(text))


def write(folder: Path, config_of_stage: Config, policies: Mapping[str, Any]) -> None:
    """Write the project: what Chalice packages, and nothing else of the repository."""
    if folder.exists():
        shutil.rmtree(folder)
    (folder / ".chalice").mkdir(parents=True)
    shutil.copy(ROOT / "app.py", folder)
    shutil.copy(ROOT / "requirements.txt", folder)
    shutil.copytree(ROOT / "chalicelib", folder / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".chalice/config.json").write_text(json.dumps(config_of_stage, indent=2))
    for function, document in policies.items():
        name = config_of_stage["lambda_functions"][function]["iam_policy_file"]
        (folder / ".chalice" / name).write_text(json.dumps(document, indent=2))
