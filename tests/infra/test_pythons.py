"""The Pythons that deploy Atoll: said in one place, and each packages functions that it can run.

Chalice's packaging really runs on each that this machine has (`tests.interpreters`). That what a function carries has
wheels for Lambda is looked at for each of them, with or without its interpreter.
"""

import atexit
import dataclasses
import functools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from botocore.session import get_session
from chalice.deploy.packager import LambdaDeploymentPackager
from packaging.tags import Tag, compatible_tags, cpython_tags, parse_tag
from typer.testing import CliRunner

from infra.deploy import command as deploy
from infra.deploy import pythons
from infra.deploy.pythons import Version
from tests import environments, interpreters
from tests import packaged as shared
from tests.infra.test_packaging import HERE, NAMES
from tests.infra.test_templates import LARGEST_ZIP

ROOT = Path(__file__).parents[2]
OLDEST, NEWEST = pythons.supported()[0], pythons.supported()[-1]

#: The last glibc 2.x of Lambda's runtimes: Amazon Linux 2 up to Python 3.11, Amazon Linux 2023 after it
#: (AWS Lambda Developer Guide, "Lambda runtimes").
GLIBC = {(3, 11): 26}
GLIBC_OF_AMAZON_LINUX_2023 = 34

#: The processor in the header of an ELF file (``e_machine``).
PROCESSORS = {0x3E: "x86_64", 0xB7: "arm64"}

#: The package that other tests have made as well.
OF_ALL_TESTS = (sys.version_info[:2], "x86_64")

MAKE = """
import sys
from pathlib import Path
from infra.deploy import package
package.make(Path(sys.argv[1]), "dev", sys.argv[2])
"""

#: Loads every function, with what Lambda has besides the package, and prints the names of what was loaded of that.
LOAD = """
import importlib, json, sys
package, besides, handlers = sys.argv[1:]
sys.path[:0], sys.path[-1:] = [package], [*sys.path[-1:], besides]
for handler in json.loads(handlers):
    module, _, function = handler.rpartition(".")
    assert callable(getattr(importlib.import_module(module), function)), handler
import cryptography.hazmat.bindings._rust, pydantic_core, regex
loaded = [name for name, each in sys.modules.items() if (getattr(each, "__file__", "") or "").startswith(besides)]
print(json.dumps(sorted({name.partition(".")[0] for name in loaded})))
"""

#: What the runtimes of Lambda bring: boto3 and what that needs.
LAMBDAS = {"boto3", "botocore", "dateutil", "jmespath", "s3transfer", "six", "urllib3"}


@dataclasses.dataclass(frozen=True)
class Packaged:
    """What a Python has packaged for an architecture, and the Python."""

    python: Path
    folder: Path

    def functions(self) -> list[dict[str, Any]]:
        """Return the properties of all functions."""
        resources = json.loads((self.folder / "template.json").read_text())["Resources"].values()
        return [each["Properties"] for each in resources if each["Type"] == "AWS::Serverless::Function"]

    def files(self, end: str) -> Iterator[tuple[str, bytes]]:
        """Yield names and contents of the files of the zip that have an ending."""
        with zipfile.ZipFile(self.folder / "deployment.zip") as archive:
            for name in archive.namelist():
                if name.endswith(end):
                    yield name, archive.read(name)


@functools.cache
def packaged(version: Version, architecture: str) -> Packaged:
    """Package on a Python, once; skips when it is not here."""
    if (version, architecture) == OF_ALL_TESTS:
        return Packaged(Path(sys.executable), shared.folder())
    try:
        python = interpreters.python(version)
    except (interpreters.NotFound, environments.NotInstallable) as error:
        pytest.skip(str(error))
    folder = Path(tempfile.mkdtemp(prefix="atoll-package-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    done = subprocess.run(
        [str(python), "-c", MAKE, str(folder), architecture], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return Packaged(python, folder)


def each_package(*architectures: str) -> pytest.MarkDecorator:
    """Run a test for every supported Python, the tests of one package in one process."""

    def case(version: Version, architecture: str) -> Any:
        name = f"{pythons.written(version)}-{architecture}"
        group = "package" if (version, architecture) == OF_ALL_TESTS else name
        return pytest.param(version, architecture, id=name, marks=pytest.mark.xdist_group(group))

    cases = [case(version, architecture) for version in pythons.supported() for architecture in architectures]
    return pytest.mark.parametrize(("version", "architecture"), cases)


@each_package(*NAMES)
def test_functions_run_on_the_python_that_packaged_them(version: Version, architecture: str) -> None:
    found = {(each["Runtime"], *each["Architectures"]) for each in packaged(version, architecture).functions()}
    assert found == {(f"python{pythons.written(version)}", architecture)}


@each_package(*NAMES)
def test_the_package_has_wheels_of_lambdas_machine(version: Version, architecture: str) -> None:
    supported = tags_of_lambda(version, architecture)
    wheels = dict(packaged(version, architecture).files(".dist-info/WHEEL"))
    assert len(wheels) > 10
    for name, content in wheels.items():
        tags = {tag for line in re.findall(r"^Tag: (\S+)", content.decode(), re.MULTILINE) for tag in parse_tag(line)}
        assert tags & supported, f"{name} is for {sorted(map(str, tags))}"


@each_package(*NAMES)
def test_native_code_is_of_the_processor_and_the_python(version: Version, architecture: str) -> None:
    libraries = dict(packaged(version, architecture).files(".so"))
    assert {PROCESSORS[int.from_bytes(content[18:20], "little")] for content in libraries.values()} == {architecture}
    ends = (f".cpython-{version[0]}{version[1]}-{NAMES[architecture]}-linux-gnu.so", ".abi3.so", ".abi3t.so")
    assert [name for name in libraries if not name.endswith(ends)] == []
    assert len([name for name in libraries if name.endswith(ends[0])]) >= 3, list(libraries)


@each_package(*NAMES)
def test_the_package_is_small(version: Version, architecture: str) -> None:
    assert (packaged(version, architecture).folder / "deployment.zip").stat().st_size < LARGEST_ZIP


@each_package(HERE)
def test_every_function_can_be_loaded_from_the_package(version: Version, architecture: str, tmp_path: Path) -> None:
    made = packaged(version, architecture)
    with zipfile.ZipFile(made.folder / "deployment.zip") as archive:
        archive.extractall(tmp_path)
    handlers = json.dumps([each["Handler"] for each in made.functions()])
    variables = {"AWS_DEFAULT_REGION": "us-east-1", "ATOLL_STAGE": "dev", "PATH": os.environ["PATH"]}
    besides = made.python.parents[1] / f"lib/python{pythons.written(version)}/site-packages"
    command = [str(made.python), "-PS", "-W", "error", "-c", LOAD, str(tmp_path), str(besides), handlers]
    done = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) <= LAMBDAS


def tags_of_lambda(version: Version, architecture: str) -> set[Tag]:
    """Return the tags of the wheels that a runtime of Lambda can load."""
    last = GLIBC.get(version, GLIBC_OF_AMAZON_LINUX_2023)
    platforms = [f"manylinux_2_{minor}_{NAMES[architecture]}" for minor in range(last, 4, -1)]
    return {*cpython_tags(version, platforms=platforms), *compatible_tags(version, platforms=platforms)}


@pytest.mark.parametrize("architecture", NAMES)
@pytest.mark.parametrize("version", pythons.supported(), ids=pythons.written)
def test_what_is_locked_has_wheels_for_lambda(version: Version, architecture: str, tmp_path: Path) -> None:
    """Also for a Python that is not here: uv chooses among the locked files as that one would."""
    uv = str(Path(sys.executable).with_name("uv"))
    place = f"--python-version={pythons.written(version)} --python-platform={NAMES[architecture]}-manylinux_2_17"
    strict = "--dry-run --only-binary=:all: --require-hashes -r requirements.txt"
    command = [uv, "pip", "install", f"--target={tmp_path}", *place.split(), *strict.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("version", pythons.supported(), ids=pythons.written)
def test_lambda_and_chalice_know_the_python(version: Version) -> None:
    runtime = f"python{pythons.written(version)}"
    runtimes: Any = get_session().get_service_model("lambda").shape_for("Runtime")
    assert runtime in runtimes.enum
    assert runtime in LambdaDeploymentPackager._RUNTIME_TO_ABI


def test_the_pythons_are_the_same_wherever_they_are_named() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    oldest, newest = pythons.written(OLDEST), pythons.written(NEWEST)
    assert project["project"]["requires-python"] == f">={oldest}"
    assert project["tool"]["mypy"]["python_version"] == oldest
    assert project["tool"]["ruff"]["target-version"] == f"py{oldest.replace('.', '')}"
    makefile = (ROOT / "Makefile").read_text()
    assert f"--python-version {oldest} " in makefile
    assert f"sys.version_info < {OLDEST}" in makefile
    assert f'python: ["{oldest}", "{newest}"]' in (ROOT / ".github/workflows/test.yml").read_text()
    for document in ("README.md", "CONTRIBUTING.md", "docs/deploy.md"):
        assert f"Python {pythons.in_words()}" in (ROOT / document).read_text(), document


@pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["--package", "out"]])
def test_another_python_is_refused_before_anything_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str]
) -> None:
    """Chalice would take the next Python of Lambda's for it, and wheels that it cannot load."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pythons, "supported", lambda: [(3, 98), (3, 99)])
    command = typer.Typer()
    command.command()(deploy.main)
    refused = CliRunner().invoke(command, arguments)
    assert refused.exit_code == 1
    assert "use 3.98 to 3.99" in " ".join(refused.output.split())
    assert list(tmp_path.iterdir()) == []
