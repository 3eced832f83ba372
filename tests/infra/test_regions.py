"""What a stage is made of in each region and partition, as CloudFormation evaluates the templates there."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest
from cfnlint.helpers import REGIONS
from cfnlint.schema.manager import PROVIDER_SCHEMA_MANAGER

from infra.deploy import description
from infra.local.cloudformation.templates import Resource, Stack

WITH, WITHOUT = "eu-central-1", "eu-central-2"
API = f"https://api.execute-api.{WITHOUT}.amazonaws.com/prod"


def made(template: description.Template, region: str, **values: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the properties of the resources that a template makes, and its outputs."""
    resources: dict[str, Any] = {}

    def make(name: str, properties: dict[str, Any]) -> Resource:
        resources[name] = properties
        return Resource(
            name, {"FunctionUrl": "https://url.lambda-url.on.aws/", "DomainName": "d", "FunctionARN": "arn"}
        )

    of_region = {
        "AWS::Region": region,
        "AWS::Partition": "aws",
        "AWS::AccountId": "1",
        "AWS::URLSuffix": "amazonaws.com",
    }
    parameters = {name: "arn:given" for name in template["Parameters"] if "Default" not in template["Parameters"][name]}
    given = {**parameters, "Stage": "prod", **of_region, **values}
    stack = Stack(template, parameters=given, imports={}, maker=lambda _: make)
    stack.make()
    return resources, {name: value for name, value, _ in stack.outputs()}


def test_regions_without_function_urls_are_known() -> None:
    known = description.regions_without_function_urls()
    lacking = {each for each in REGIONS if "AWS::Lambda::Url" not in PROVIDER_SCHEMA_MANAGER.get_resource_types(each)}
    assert lacking <= known
    assert known <= set(REGIONS)
    assert WITH not in known
    assert WITHOUT in known


def test_every_region_has_what_a_stage_is_made_of() -> None:
    templates = (description.stack(), description.events(), description.roles("prod"))
    resources = [each for template in templates for each in template["Resources"].values()]
    lacking = description.regions_without_function_urls()
    for region in REGIONS:
        left_out = "HasFunctionUrls" if region in lacking else "nothing"
        made = {each["Type"] for each in resources if each.get("Condition") != left_out}
        assert made <= set(PROVIDER_SCHEMA_MANAGER.get_resource_types(region)), region


@pytest.mark.parametrize(("region", "asked", "has"), [(WITH, "on", True), (WITH, "off", False), (WITHOUT, "on", False)])
def test_agents_use_the_rest_api_where_there_are_no_function_urls(region: str, asked: str, has: bool) -> None:
    template = description.events()
    resources, outputs = made(template, region, FunctionUrls=asked, RestAPI="api")
    urls = {name for name in resources if template["Resources"][name]["Type"] == "AWS::Lambda::Url"}
    public = {name for name, each in resources.items() if each.get("Principal") == "*"}
    assert bool(urls) is has
    assert bool(public) is has, "and nobody else may call the function"
    told = json.loads(resources["StageUrls"]["Value"])
    assert (told["mcp"] == told["api"]) is not has
    assert outputs["McpUrl"] == told["mcp"]
    assert (outputs["McpUrl"] == outputs["ApiUrl"]) is not has


@pytest.mark.parametrize(("url", "path"), [(API, "/prod"), ("https://url.lambda-url.on.aws/", None)])
def test_an_address_leads_agents_to_the_stage_of_the_rest_api(url: str, path: str | None) -> None:
    sockets = API.replace("https", "wss")
    resources, _ = made(description.address(), WITHOUT, ApiUrl=API, McpUrl=url, SocketsUrl=sockets)
    [origin] = [each for each in resources["Address"]["DistributionConfig"]["Origins"] if each["Id"] == "mcp"]
    assert (origin["DomainName"], origin.get("OriginPath")) == (urlsplit(url).netloc, path)


def test_state_machines_are_of_the_partition_of_the_stack() -> None:
    machines = [each for each in description.stack()["Resources"].values() if "DefinitionString" in each["Properties"]]
    assert len(machines) == 2
    for machine in machines:
        assert machine["Properties"]["DefinitionSubstitutions"]["Partition"] == {"Ref": "AWS::Partition"}
        definition = json.loads(machine["Properties"]["DefinitionString"])
        called = [each["Resource"] for each in definition["States"].values() if "Resource" in each]
        assert called
        assert all(each.startswith("arn:${Partition}:states:::") for each in called)


def test_what_has_a_name_of_the_whole_account_has_the_region_in_it() -> None:
    """The same stage can be in two regions: that is how one replaces a region that is down."""
    keys = {
        "AWS::IAM::Role": "RoleName",
        "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
        "AWS::S3::Bucket": "BucketName",
        "AWS::CloudWatch::Dashboard": "DashboardName",
        "AWS::CloudFront::Function": "Name",
    }
    templates = (description.stack(), description.roles("dev"), description.events(), description.address())
    resources = [each for template in templates for each in template["Resources"].values()]
    names = [json.dumps(each["Properties"].get(keys[each["Type"]])) for each in resources if each["Type"] in keys]
    named = [name for name in names if name != "null"]  # CloudFormation makes names that nobody else has
    assert len(named) >= 5
    assert [name for name in named if "${AWS::Region}" not in name] == []


def test_policies_and_templates_are_of_the_partition_of_the_stage() -> None:
    files = [*(description.ROOT / ".chalice").glob("policy-*.json"), *description.TEMPLATES.rglob("*.json")]
    files += [description.TEMPLATES / name for name in ("stack.yaml", "events.yaml")]
    assert len(files) > 15
    assert [file.name for file in files if "arn:aws:" in file.read_text()] == []


def test_the_cluster_has_both_kinds_of_capacity_that_an_agent_may_ask_for() -> None:
    cluster = description.stack()["Resources"]["Cluster"]["Properties"]
    assert cluster["CapacityProviders"] == ["FARGATE", "FARGATE_SPOT"]
