"""The functions of a stage and their REST API, as Chalice makes them.

Chalice updates what its record of the last deployment names, and writes that record only after its whole plan has run:
after a deployment that was cut off it would make a second REST API. So the record is made anew before each run, of what
there is: functions are known by their names, the REST API by the function that it calls.
"""

import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import boto3

from infra.deploy import Failed, description

#: What Chalice says when it leaves a dependency out (its ``MISSING_DEPENDENCIES_TEMPLATE``).
_MISSING = "Could not install dependencies:"


@dataclasses.dataclass(frozen=True)
class App:
    """The existing functions of a stage by their names in the app, and its REST APIs."""

    functions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: Roles that Chalice has made for them, in earlier versions: it deletes them when the functions have others.
    roles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: Ids of REST APIs, the one in use first; any other was left by a deployment that was cut off.
    apis: tuple[str, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return Chalice's record of it. Chalice deletes recorded parts that it does not plan, the last first."""
        roles = [
            {"name": f"{name}_role", "resource_type": "iam_role", "role_name": arn.rpartition("/")[2], "role_arn": arn}
            for name, arn in self.roles.items()
        ]
        functions = [
            {"name": name, "resource_type": "lambda_function", "lambda_arn": arn}
            for name, arn in self.functions.items()
        ]
        apis = [
            {"name": f"unused_{api}" if number else "rest_api", "resource_type": "rest_api", "rest_api_id": api}
            for number, api in enumerate(self.apis)
        ]
        return {"resources": [*roles, *functions, *apis], "schema_version": "2.0", "backend": "api"}

    def named(self) -> list[str]:
        """Return the parts in readable form."""
        return [
            *(f"function {name}" for name in self.functions),
            *(f"role of {name}" for name in self.roles),
            *(f"REST API {api}" for api in self.apis),
        ]


def find(session: boto3.Session, stage: str) -> App:
    """Return the existing parts of a stage's app.

    A name alone does not prove ownership: a function that the app no longer has must have Chalice's tag.
    """
    client = session.client("lambda")
    known = description.functions()
    functions, roles, used = {}, {}, set()
    for page in client.get_paginator("list_functions").paginate():
        for each in page["Functions"]:
            name, arn = _last_part(each["FunctionName"], stage), each["FunctionArn"]
            if name in known or (name and _made_by_chalice(client.list_tags(Resource=arn)["Tags"], stage)):
                functions[name] = arn
                used.add(each["Role"])
    for page in session.client("iam").get_paginator("list_roles").paginate():
        for each in page["Roles"]:
            name = _last_part(each["RoleName"], stage)
            if name and each["Arn"] in used:
                roles[name] = each["Arn"]
    return App(functions, roles, apis(session, stage))


def _made_by_chalice(tags: Mapping[str, str], stage: str) -> bool:
    return tags.get("aws-chalice", "").endswith(f":stage={stage}:app=atoll")


def _last_part(name: str, stage: str) -> str:
    """Return ``mcp`` of ``atoll-dev-mcp``; nothing for ``atoll-dev-agent-task`` of the stack, or another stage's."""
    if name == f"atoll-{stage}":
        return "api_handler"
    match = re.fullmatch(rf"atoll-{stage}-([A-Za-z0-9_]+)", name)
    return match[1] if match else ""


def apis(session: boto3.Session, stage: str) -> tuple[str, ...]:
    """Return the ids of the REST APIs that call a stage's function, the one in use first."""
    client = session.client("apigateway")
    found = []
    for page in client.get_paginator("get_rest_apis").paginate():
        for api in page["items"]:
            if api["name"] == "atoll" and f":function:atoll-{stage}/" in next(integrations(client, api["id"]), ""):
                stages = [each["stageName"] for each in client.get_stages(restApiId=api["id"])["item"]]
                found.append((stage not in stages, api["createdDate"], api["id"]))
    return tuple(api for *_, api in sorted(found))


def integrations(client: Any, api: str) -> Iterator[str]:
    """Yield the URIs that an API calls."""
    for page in client.get_paginator("get_resources").paginate(restApiId=api, embed=["methods"]):
        for resource in page["items"]:
            for method in resource.get("resourceMethods", {}).values():
                if uri := method.get("methodIntegration", {}).get("uri"):
                    yield uri


def run_chalice(command: str, stage: str, project: Path, session: boto3.Session, there: App) -> None:
    """Have Chalice deploy or delete the app of a project, with a record of what exists; raises `Failed`."""
    file = project / f".chalice/deployed/{stage}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(there.record()))
    region = str(session.region_name)
    environment: dict[str, str | None] = {"AWS_DEFAULT_REGION": region, "AWS_REGION": region}
    credentials = session.get_credentials()
    if credentials is not None:  # those of the profile, resolved: nothing else of the environment may mix with them
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        environment |= dict(zip(names, credentials.get_frozen_credentials()[:3], strict=True))
        environment |= dict.fromkeys(("AWS_PROFILE", "AWS_DEFAULT_PROFILE"))
    if command == "deploy":  # which packages as well, but reports what is missing when the functions have it
        chalice("package", "--stage", stage, str(project / "packaged"), project=project, environment=environment)
    chalice(command, "--stage", stage, project=project, environment=environment)


def set_logging(session: boto3.Session, stage: str) -> None:
    """Have functions log as is described. Chalice has no such setting, and leaves it as it is.

    It waits until each function can be changed again.
    """
    client = session.client("lambda")
    for function, logging in description.LOGGING.items():
        name = description.function_name(stage, function)
        client.update_function_configuration(FunctionName=name, LoggingConfig=logging)


def chalice(*arguments: str, project: Path, environment: Mapping[str, str | None]) -> None:
    """Run Chalice on a project, with other variables (``None`` is none); raises `Failed` with what it wrote.

    It runs pip in the project's folder. What that runs on no processor of this machine it asks for by names and
    versions alone: the constraints have the hashes that were locked. What it cannot get it names, and goes on.
    """
    script = "import sys; from chalice.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "--project-dir", str(project), *arguments]
    constraints = {"PIP_CONSTRAINT": "requirements.txt"}
    variables = {name: value for name, value in {**os.environ, **constraints, **environment}.items() if value}
    done = subprocess.run(  # noqa: S603
        command,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    if _MISSING in done.stdout:
        missing = done.stdout.partition(_MISSING)[2].partition("You will")[0].split()
        raise Failed(f"chalice {arguments[0]}: pip got no wheels, with the hashes that are locked, of {missing}")
    if done.returncode:
        raise Failed(f"chalice {arguments[0]}: {(done.stderr or done.stdout).strip()[-2000:]}")
