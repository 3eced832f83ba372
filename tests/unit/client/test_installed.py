"""What `pipx install .` installs: the client alone, which works without the rest of the project."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.infra.test_requirements import pins

ROOT = Path(__file__).parents[3]


def installed(folder: Path) -> Path:
    """Copy what the packages of `pyproject.toml` are, as setuptools does."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        packages = tomllib.load(file)["tool"]["setuptools"]["packages"]
    for package in packages:
        here = ROOT / package.replace(".", "/")
        there = folder / package.replace(".", "/")
        there.mkdir(parents=True, exist_ok=True)
        for module in here.glob("*.py"):
            (there / module.name).write_text(module.read_text())
    shutil.copytree(ROOT / "atoll/command/templates", folder / "atoll/command/templates")
    return folder


PROGRAM = """
import importlib, pkgutil, sys, atoll
for module in pkgutil.walk_packages(atoll.__path__, "atoll."):
    if module.name != "atoll.__main__":
        importlib.import_module(module.name)
refused = {"chalicelib", "infra", "boto3", "botocore", "chalice", "moto"}
print(*sorted({name.split(".")[0] for name in sys.modules} & refused))
"""


def test_it_needs_neither_the_server_nor_aws(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed(tmp_path))}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr[-2000:]
    made = [sys.executable, "-m", "atoll", "agents", "new", "ann", "--into", str(tmp_path / "work")]
    subprocess.run(made, cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert (tmp_path / "work/ann/agent.py").is_file()
    refused = subprocess.run(
        [sys.executable, "-m", "atoll", "up"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 1
    assert "in a checkout of Atoll" in refused.stderr


def test_what_it_depends_on_is_what_tests_run_on() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        asked = tomllib.load(file)["project"]["dependencies"]
    locked = pins("requirements-dev.txt")
    for text in asked:
        name, _, least = text.partition(">=")
        have = locked[name.lower().replace("_", "-")]
        assert have.split(".")[0] == least.split(".")[0], f"{text}: {have} is another major version"


def test_help_needs_no_models() -> None:
    program = "import sys; from atoll.command.program import app; print('atoll.models' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False", "completion and --help wait for it"
