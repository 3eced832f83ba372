"""One CloudFormation template of everything, for pipelines: what Chalice packages, with both templates merged in."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.aws import project, templates
from infra.aws.templates import Template

#: The placeholders of policies, as CloudFormation knows them.
_PSEUDO = {
    "Account": "${AWS::AccountId}",
    "Region": "${AWS::Region}",
    "Partition": "${AWS::Partition}",
}

#: A REST API's id has ten characters.
_AN_ID = "0123456789"


def make(folder: Path, stage: str) -> Path:
    """Write ``template.json`` and ``deployment.zip`` into a folder and return the template's path."""
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "project"
    # CloudFormation has the last word on what is left open here.
    limits: dict[str, int | None] = dict.fromkeys(project.reserved(stage), None)
    project.write(source, project.of_stage(stage, {}, traced=False, limits=limits), _policies(stage))
    extras = folder / "extras.json"
    extras.write_text(json.dumps(_extras(stage), indent=1, default=str))
    chalice("package", "--stage", stage, "--merge-template", str(extras), str(folder), project_folder=source)
    template = folder / "template.json"
    (folder / "sam.json").replace(template)
    extras.unlink()
    return template


class ChaliceFailed(Exception):
    """Chalice did not go along; the message is what it wrote."""


def chalice(*arguments: str, project_folder: Path, environment: Mapping[str, str] | None = None) -> None:
    """Run Chalice on a project; raise `ChaliceFailed` when it fails."""
    script = "import sys; from chalice.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "--project-dir", str(project_folder), *arguments]
    # A package is for any region, but Chalice wants to know one.
    settings = {"AWS_DEFAULT_REGION": "us-east-1", **(environment or os.environ)}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise ChaliceFailed(f"chalice {arguments[0]}: {(done.stderr or done.stdout).strip()[-2000:]}")


def logical_id(function: str) -> str:
    """Return what Chalice calls a function in a template."""
    return "APIHandler" if function == "api_handler" else "".join(part.capitalize() for part in function.split("_"))


def function_name(stage: str, function: str) -> str:
    """Return a function's name on AWS."""
    return f"atoll-{stage}" if function == "api_handler" else f"atoll-{stage}-{function}"


def _policies(stage: str) -> dict[str, Any]:
    policies = {}
    for function in project.functions():
        document = _substituted(project.policy(function, {**_PSEUDO, "Stage": stage}))
        document["Statement"].append({"Fn::If": ["Traces", project.TRACING, {"Ref": "AWS::NoValue"}]})
        policies[function] = document
    return policies


def _substituted(value: Any) -> Any:
    """Let CloudFormation fill in every text that has a placeholder."""
    if isinstance(value, str):
        return {"Fn::Sub": value} if "${" in value else value
    if isinstance(value, list):
        return [_substituted(item) for item in value]
    if isinstance(value, dict):
        return {key: _substituted(item) for key, item in value.items()}
    return value


def _extras(stage: str) -> Template:
    stack, events = templates.stack(), templates.events()
    exports = {
        output["Export"]["Name"]["Fn::Sub"]: output.pop("Export")["Name"] and output["Value"]
        for output in stack["Outputs"].values()
        if "Export" in output
    }
    names = {f"atoll-${{Stage}}-{function}": {"Ref": logical_id(function)} for function in project.functions()}
    limits = project.reserved(stage)
    parameters = stack["Parameters"] | {
        f"{logical_id(function)}Concurrency": {
            "Type": "Number",
            "Default": limit,
            "MinValue": 0,
            "Description": f"Reserved concurrency of {function}; 0 reserves none.",
        }
        for function, limit in limits.items()
    }
    parameters["Stage"] = {"Type": "String", "Default": stage, "AllowedValues": [stage]}
    return {
        "Description": f"Atoll, stage {stage}: everything in one stack.",
        "Parameters": parameters,
        "Conditions": stack["Conditions"]
        | {
            f"Limits{logical_id(function)}": {
                "Fn::Not": [{"Fn::Equals": [{"Ref": f"{logical_id(function)}Concurrency"}, 0]}]
            }
            for function in limits
        },
        "Resources": {
            **stack["Resources"],
            **_joined(events["Resources"], exports, names),
            **{logical_id(function): _function(stage, function) for function in project.functions()},
            "RestAPI": {
                "Properties": {"Name": "atoll", "TracingEnabled": {"Fn::If": ["Traces", True, False]}},
            },
        },
        "Outputs": {**stack["Outputs"], **_joined(events["Outputs"], exports, names)},
    }


def _joined(value: Any, exports: dict[str, Any], names: dict[str, Any]) -> Any:
    """Name directly what two stacks name by exports and by names, so that CloudFormation knows the order."""
    if isinstance(value, list):
        return [_joined(item, exports, names) for item in value]
    if not isinstance(value, dict):
        return value
    if "Fn::ImportValue" in value:
        return exports[value["Fn::ImportValue"]["Fn::Sub"]]
    if value.get("Fn::Sub") in names:
        return names[value["Fn::Sub"]]
    return {key: _joined(item, exports, names) for key, item in value.items()}


def _function(stage: str, function: str) -> dict[str, Any]:
    """Return what only CloudFormation can tell a function."""
    environment: dict[str, Any] = {
        "ATOLL_ACCOUNT": {"Ref": "AWS::AccountId"},
        "ATOLL_PARTITION": {"Ref": "AWS::Partition"},
        "ATOLL_SUBNETS": {"Fn::Join": [",", {"Ref": "Subnets"}]},
        "ATOLL_SECURITY_GROUPS": {
            "Fn::If": [
                "OwnSecurityGroup",
                {"Fn::GetAtt": ["AgentsSecurityGroup", "GroupId"]},
                {"Fn::Join": [",", {"Ref": "SecurityGroups"}]},
            ]
        },
        "ATOLL_ASSIGN_PUBLIC_IP": {"Ref": "AssignPublicIp"},
        "ATOLL_AGENT_EXECUTION_ROLE": {"Fn::GetAtt": ["AgentExecutionRole", "Arn"]},
        "ATOLL_AGENT_TASK_ROLE": {"Fn::GetAtt": ["AgentTaskRole", "Arn"]},
    }
    api_url = f"https://${{RestAPI}}.execute-api.${{AWS::Region}}.${{AWS::URLSuffix}}/{project.api_stage(stage)}"
    if function == "api_handler":
        # Its API is made of it, so it cannot be told the URL. It only counts how much agents will be told.
        api_url = api_url.replace("${RestAPI}", _AN_ID)
    if function != "mcp":  # whose URL is made of it
        environment["ATOLL_API_URL"] = {"Fn::Sub": api_url}
        environment["ATOLL_MCP_URL"] = door_url({"Fn::GetAtt": ["McpUrl", "FunctionUrl"]})
    properties: dict[str, Any] = {
        "FunctionName": function_name(stage, function),
        "Environment": {"Variables": environment},
        "Tracing": {"Fn::If": ["Traces", "Active", "PassThrough"]},
    }
    if function in project.reserved(stage):
        name = logical_id(function)
        limit = {"Fn::If": [f"Limits{name}", {"Ref": f"{name}Concurrency"}, {"Ref": "AWS::NoValue"}]}
        properties["ReservedConcurrentExecutions"] = limit
    return {"Properties": properties}


def door_url(function_url: Any) -> Any:
    """Return a Function URL without the slash at its end."""
    if isinstance(function_url, str):
        return function_url.rstrip("/")
    host = {"Fn::Select": [2, {"Fn::Split": ["/", function_url]}]}
    return {"Fn::Join": ["", ["https://", host]]}
