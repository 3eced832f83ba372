"""Chalice itself, cut off in its first deployment and run again, against moto."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from infra.deploy import Failed, app, description
from infra.deploy.app import App
from infra.deploy.executor import Executor
from infra.deploy.plan import DeleteApp, DeployApp, Found
from tests.infra.test_deployer import allowed

Answer = Iterable[bytes]

#: Chalice waits five seconds for each new role. In moto it may be used at once. What it calls is noted in a file.
SITE = """
import os, time
from botocore.client import BaseClient

sleep, call = time.sleep, BaseClient._make_api_call
time.sleep = lambda seconds: sleep(seconds / 1000)

def noted(client, operation, parameters):
    model = client.meta.service_model.operation_model(operation)
    with open(os.path.join(os.path.dirname(__file__), "calls"), "a") as calls:
        print(model.service_model.signing_name, model.name, model.http["method"], file=calls)
    return call(client, operation, parameters)

BaseClient._make_api_call = noted
"""


class Moto:
    """moto as a server, which fails on demand."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        #: The end of the path of a request that is refused.
        self.refuses = ""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Answer:
        if self.refuses and environ["REQUEST_METHOD"] == "POST" and environ["PATH_INFO"].endswith(self.refuses):
            environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            start_response("400 Bad Request", [("x-amzn-ErrorType", "BadRequestException")])
            return [json.dumps({"message": "refused"}).encode()]
        if environ["PATH_INFO"].startswith("/restapis") and environ["QUERY_STRING"].startswith("mode="):
            # moto reads definitions of OpenAPI 3 only; what it reads of Chalice's has not changed since 2.
            read = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            del read["swagger"]
            body = json.dumps(read | {"openapi": "3.0.0", "info": {"description": "", **read["info"]}}).encode()
            environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return self._moto(environ, start_response)  # type: ignore[no-any-return]


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Moto]:
    served = Moto()
    server = make_server("127.0.0.1", 0, served, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(SITE)
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "PYTHONPATH": str(tmp_path / "site"),
    }.items():
        monkeypatch.setenv(name, value)
    write_project = description.write_project

    def write_without_libraries(folder: Path, stage: str, **rest: Any) -> None:
        write_project(folder, stage, **rest)
        (folder / "requirements.txt").write_text("")

    monkeypatch.setattr(description, "write_project", write_without_libraries)
    yield served
    server.shutdown()
    server.server_close()


def run(kind: type[DeployApp | DeleteApp], folder: Path) -> None:
    session = boto3.Session()
    found = Found(account="123456789012", region="us-east-1", partition="aws", outputs={}, concurrency=1000)
    there = app.find(session, "dev")
    step = DeployApp({"mcp": 10, "reconcile": 1}, there) if kind is DeployApp else DeleteApp(there)
    Executor(session, found, "dev", folder).run(step, dry_run=False)


def there() -> App:
    """Return what there is, however it is named: the account has nothing else."""
    session = boto3.Session()
    found = app.find(session, "dev")
    assert len(session.client("lambda").list_functions()["Functions"]) == len(found.functions)
    roles = {each["Arn"] for each in session.client("iam").list_roles()["Roles"]}
    used = {each["Role"] for each in session.client("lambda").list_functions()["Functions"]}
    assert used <= roles, "the roles of the stack, and no other"
    assert found.roles == {}
    assert len(session.client("apigateway").get_rest_apis()["items"]) == len(found.apis)
    return found


def test_what_chalice_made_before_it_failed_is_taken_up_or_deleted(moto: Moto, tmp_path: Path) -> None:
    everything = set(description.functions())
    roles = description.body(description.roles("dev"))
    boto3.Session().client("cloudformation").create_stack(StackName="atoll-dev-roles", TemplateBody=roles)
    assert there() == App()
    moto.refuses = "/deployments"  # the last step: the REST API is there, and nothing has been recorded
    with pytest.raises(Failed, match="refused"):
        run(DeployApp, tmp_path)
    cut_off = there()
    assert (set(cut_off.functions), len(cut_off.apis)) == (everything, 1)
    both = {*cut_off.apis, leave_api(calls_like=cut_off.apis[0])}
    assert set(there().apis) == both  # AWS lists them in no order

    moto.refuses = ""
    run(DeployApp, tmp_path)
    complete = there()
    # Neither was in use, and their dates, which are whole seconds, may be equal: either may be the one.
    assert len(complete.apis) == 1
    assert set(complete.apis) < both
    assert complete.functions == cut_off.functions

    run(DeleteApp, tmp_path)
    assert there() == App()
    assert chalices_actions(tmp_path) - allowed() == set()


def chalices_actions(folder: Path) -> set[str]:
    """Return the actions that IAM asks for what Chalice has called."""
    calls = [line.split() for line in (folder / "site/calls").read_text().splitlines()]
    actions = {f"{service}:{method if service == 'apigateway' else name}" for service, name, method in calls}
    # boto3's name of this call of Lambda has the version of its API.
    assert {"lambda:CreateFunction", "apigateway:POST", "lambda:DeleteFunction"} <= actions
    return actions


def leave_api(*, calls_like: str) -> str:
    """Make a second REST API that calls what the first one calls, as a run leaves it that knew of none."""
    client = boto3.Session().client("apigateway")
    uri = next(app.integrations(client, calls_like))
    api = str(client.create_rest_api(name="atoll")["id"])
    root = client.get_resources(restApiId=api)["items"][0]["id"]
    client.put_method(restApiId=api, resourceId=root, httpMethod="GET", authorizationType="NONE")
    client.put_integration(
        restApiId=api, resourceId=root, httpMethod="GET", type="AWS_PROXY", integrationHttpMethod="POST", uri=uri
    )
    return api
