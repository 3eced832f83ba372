"""What the API says of itself: the OpenAPI document, the page that shows it, and who may read it from a browser."""

import json
import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from chalice.local import LambdaEventConverter, RouteMatcher

from app import app
from chalicelib.api import console
from infra.deploy import description
from infra.local.stack import LocalStack
from tests.client import Client

pytestmark = pytest.mark.xdist_group("api")


@pytest.fixture(scope="module")
def document(stack: LocalStack) -> dict[str, Any]:
    body: dict[str, Any] = Client(stack.url, None).call("GET", "/api_v1.json").body
    return body


def test_the_document_names_every_route(document: dict[str, Any]) -> None:
    served = {
        (method, path)
        for path, methods in app.routes.items()
        for method in methods
        if method != "OPTIONS" and path.startswith("/api/") and path != "/api/v1/agent/options"
    }
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == served


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    text = json.dumps(document)
    names = set(re.findall(r'"#/components/schemas/([^"]+)"', text))
    assert names == set(document["components"]["schemas"])
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in names)


def at_stage(path: str, headers: dict[str, str]) -> Any:
    """Return what the function answers when API Gateway has a request for its stage `prod`."""
    converter = LambdaEventConverter(RouteMatcher(list(app.routes)))
    event = converter.create_lambda_event("GET", path, headers)
    event["requestContext"]["path"] = f"/prod{path}"
    return app(event, None)


def added_headers() -> dict[str, str]:
    """Return what the one address adds to requests to the API."""
    config = description.address()["Resources"]["Address"]["Properties"]["DistributionConfig"]
    [origin] = [each for each in config["Origins"] if each["Id"] == "api"]
    return {each["HeaderName"]: each["HeaderValue"] for each in origin["OriginCustomHeaders"]}


@pytest.mark.usefixtures("stack")
def test_behind_a_stage_the_document_names_the_stage() -> None:
    assert json.loads(at_stage("/api_v1.json", {})["body"])["servers"] == [{"url": "/prod"}]


@pytest.mark.usefixtures("stack")
def test_at_the_one_address_it_does_not(document: dict[str, Any]) -> None:
    assert json.loads(at_stage("/api_v1.json", added_headers())["body"])["servers"] == document["servers"]
    assert document["servers"] == [{"url": "/"}]


def test_the_page_needs_nothing_from_elsewhere(stack: LocalStack) -> None:
    with urllib.request.urlopen(f"{stack.url}/docs") as answer:
        page = answer.read().decode()
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    parts = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(parts) == 4
    for part in parts:
        with urllib.request.urlopen(f"{stack.url}/{part}") as answer:
            assert answer.status == 200
            assert len(answer.read()) > 50
    assert "<script>" not in page


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(console, "FOLDER", tmp_path)


@pytest.mark.usefixtures("unbuilt")
@pytest.mark.parametrize("path", ["/", "/ui/docs"])
def test_the_root_and_corals_page_lead_to_the_page(stack: LocalStack, path: str) -> None:
    with urllib.request.urlopen(f"{stack.url}{path}") as answer:
        assert (answer.status, answer.url) == (200, f"{stack.url}/docs")
        assert b"Atoll API" in answer.read()


@pytest.mark.usefixtures("stack", "unbuilt")
@pytest.mark.parametrize("path", ["/", "/ui/docs"])
def test_behind_a_stage_they_lead_to_the_stages_page(path: str) -> None:
    assert at_stage(path, {})["headers"]["Location"] == "/prod/docs"
    assert at_stage(path, added_headers())["headers"]["Location"] == "/docs"
    assert at_stage(path, {"X-Forwarded-Prefix": "//evil.example"})["headers"]["Location"] == "/prod/docs"


def test_no_other_request_waits_for_the_document() -> None:
    script = "import app, sys; print([name for name in sys.modules if 'openapi' in name or name == 'typer'])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def origins(stack: LocalStack, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = stack.services.settings.model_copy(update={"cors_origins": "https://one.example, https://two.example"})
    monkeypatch.setattr(stack.services, "settings", settings)
    return


PREFLIGHT = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization"}


@pytest.mark.usefixtures("origins")
@pytest.mark.parametrize("origin", ["https://one.example", "https://two.example"])
def test_pages_of_configured_origins_may_call(client: Client, stack: LocalStack, origin: str) -> None:
    path = "/api/v1/local/session/a/b"
    asked = Client(stack.url, None).call("OPTIONS", path, headers={"Origin": origin, **PREFLIGHT})
    assert asked.status == 204
    assert asked.headers["Access-Control-Allow-Origin"] == origin
    assert {"GET", "POST", "DELETE"} <= set(asked.headers["Access-Control-Allow-Methods"].split(", "))
    assert "Authorization" in asked.headers["Access-Control-Allow-Headers"]
    for known, status in ((client, 404), (Client(stack.url, None), 401)):
        answer = known.call("GET", path, headers={"Origin": origin})
        assert answer.status == status
        assert answer.headers["Access-Control-Allow-Origin"] == origin
        assert answer.headers["Vary"] == "Origin"
        assert "Next-Cursor" in answer.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.usefixtures("origins")
@pytest.mark.parametrize("origin", ["https://three.example", "http://one.example", "null", "https://one.example.evil"])
def test_pages_of_other_origins_may_not(client: Client, origin: str) -> None:
    for method in ("OPTIONS", "GET"):
        answer = client.call(method, "/api/v1/registry", headers={"Origin": origin, **PREFLIGHT})
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]


def test_no_origin_may_unless_it_is_configured(client: Client) -> None:
    answer = client.call("GET", "/api/v1/registry", headers={"Origin": "https://one.example"})
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_everybody_may_where_that_is_configured(
    client: Client, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack.services, "settings", stack.services.settings.model_copy(update={"cors_origins": "*"}))
    answer = client.call("GET", "/api/v1/registry", headers={"Origin": "https://any.example"})
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
