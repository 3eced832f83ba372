"""What the one address in front of a stage makes of requests: the function that it runs, and how it is set up."""

import json
import subprocess
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from infra.deploy import description
from infra.local.api_gateway.sockets import connecting
from tests import environments

RESOURCES = description.address()["Resources"]
DISTRIBUTION = RESOURCES["Address"]["Properties"]["DistributionConfig"]

#: What a client may ask for, path and query as it encodes them.
REQUESTS = [
    "/ws/v1/events/dev/lsm",
    "/ws/v1/events/dev/lsm?namespaceFilter=a%2Fb%26c&namespaceAnnotationFilters=e30%3D",
    "/ws/v1/events/session/team/0a1b?after=5",
    "/ws/v1/events/a%2Fb%25c/session/team%20x/id?after=5&path=evil",
    "/ws/v1/events/a+b;c=d&e'(f)*/session/%C3%A9/id?path=evil&path=worse&after=1&after=2",
    "/ws/v1/events/dev/lsm?%70ath=evil&p%61t%68=worse&%zz=1&namespaceFilter=x",
    "/ws/v1/logs?limit=&sessionFilter",
]


@pytest.fixture(scope="module")
def sent_on() -> dict[str, str]:
    """Return what the origin is asked for, by what the client asks for."""
    try:
        node = environments.node()
    except environments.NotInstallable as error:
        pytest.skip(f"the function cannot be run here: {error}")
    code = RESOURCES["SocketPaths"]["Properties"]["FunctionCode"]["Fn::Sub"].replace("${Stage}", "prod")
    events = [_viewer_request(asked) for asked in REQUESTS]
    program = f"'use strict';\n{code}\nconsole.log(JSON.stringify({json.dumps(events)}.map(handler)));"
    done = subprocess.run([node, "-e", program], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
    return dict(zip(REQUESTS, map(_origin_request, json.loads(done.stdout)), strict=True))


def _viewer_request(asked: str) -> dict[str, Any]:
    """Return the event of a request (CloudFront guide, "CloudFront Functions event structure"): nothing is decoded."""
    path, _, query = asked.partition("?")
    parameters: dict[str, dict[str, Any]] = {}
    for name, _, value in (each.partition("=") for each in query.split("&") if query):
        values = [*parameters.get(name, {}).get("multiValue", []), {"value": value}]
        parameters[name] = {"value": value, "multiValue": values}
    for parameter in parameters.values():
        if len(parameter["multiValue"]) == 1:
            del parameter["multiValue"]
    headers = {"host": {"value": "viewed.test"}, "x-forwarded-host": {"value": "evil.test"}}
    return {"version": "1.0", "request": {"method": "GET", "uri": path, "querystring": parameters, "headers": headers}}


def _origin_request(request: dict[str, Any]) -> str:
    """Return path and query that a returned request makes; what comes back must have the structure of the event."""
    assert request["headers"]["x-forwarded-host"] == {"value": "viewed.test"}  # a socket's Origin is compared with it
    parameters = [
        f"{name}={each['value']}"
        for name, parameter in request["querystring"].items()
        for each in parameter.get("multiValue", [parameter])
    ]
    return f"{request['uri']}?{'&'.join(parameters)}"


@pytest.mark.parametrize("asked", REQUESTS)
def test_a_socket_is_asked_for_at_the_stage_with_its_path_and_parameters(asked: str, sent_on: dict[str, str]) -> None:
    path, _, query = asked.partition("?")
    origin = urlsplit(sent_on[asked])
    wanted = [each for each in parse_qsl(query, keep_blank_values=True) if each[0] != "path"]
    found = parse_qsl(origin.query, keep_blank_values=True)
    assert origin.path == "/prod"
    assert [each for each in found if each[0] == "path"] == [("path", path)]
    assert [each for each in found if each[0] != "path"] == wanted


@pytest.mark.parametrize("asked", REQUESTS)
def test_the_function_behind_it_is_asked_as_on_one_machine(asked: str, sent_on: dict[str, str]) -> None:
    path, _, query = asked.partition("?")
    scope = {"query_string": query.encode(), "raw_path": path.encode(), "headers": []}
    # API Gateway decodes a query once.
    decoded = dict(parse_qsl(urlsplit(sent_on[asked]).query, keep_blank_values=True))
    assert decoded == connecting("an-id", scope)["queryStringParameters"]


def test_a_path_reads_in_the_query_as_the_documentation_writes_it(sent_on: dict[str, str]) -> None:
    assert sent_on["/ws/v1/events/dev/lsm"] == "/prod?path=/ws/v1/events/dev/lsm"


def test_nothing_is_cached_and_all_is_handed_on_but_the_host() -> None:
    behaviors = [DISTRIBUTION["DefaultCacheBehavior"], *DISTRIBUTION["CacheBehaviors"]]
    targets = {each.get("PathPattern", "*"): each["TargetOriginId"] for each in behaviors}
    assert targets == {"*": "api", "/ws/v1/*": "sockets", "/mcp/v1/*": "mcp"}
    for behavior in behaviors:
        # CachingDisabled and AllViewerExceptHostHeader (CloudFront guide, "Use managed … policies").
        assert behavior["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
        assert behavior["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"
        assert behavior["ViewerProtocolPolicy"] == "redirect-to-https"
        assert len(behavior["AllowedMethods"]) == 7


def test_no_error_is_kept_for_another_caller() -> None:
    kept_by_default = {400, 403, 404, 405, 414, 500, 501, 502, 503, 504}
    assert {each["ErrorCode"]: each for each in DISTRIBUTION["CustomErrorResponses"]} == {
        code: {"ErrorCode": code, "ErrorCachingMinTTL": 0} for code in kept_by_default
    }


def test_the_longest_wait_of_an_agent_ends_before_its_origin_is_given_up() -> None:
    [mcp] = [each for each in DISTRIBUTION["Origins"] if each["Id"] == "mcp"]
    for stage in description.config()["stages"].values():
        wait_ms = int(stage["lambda_functions"]["mcp"]["environment_variables"]["ATOLL_MCP_WAIT_LIMIT_MS"])
        assert wait_ms < mcp["CustomOriginConfig"]["OriginReadTimeout"] * 1000
