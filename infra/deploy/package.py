"""One CloudFormation template of everything, for pipelines: what Chalice packages, with both templates merged in."""

import json
from pathlib import Path
from typing import Any

from infra.deploy import access_log, app, description
from infra.deploy.description import Template, logical_id, mapped


def make(folder: Path, stage: str, architecture: str = "x86_64") -> Path:
    """Write ``template.json`` and ``deployment.zip`` into a folder and return the template's path; raises `Failed`."""
    description.reserved(stage)  # before anything is written: there may be no such stage
    folder = folder.resolve()  # Chalice works in the project's folder
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "project"
    # CloudFormation has the last word on what is left open here.
    description.write_project(source, stage, environment={}, limits={}, traced=False, architecture=architecture)
    extras = folder / "extras.json"
    extras.write_text(json.dumps(_extras(stage, architecture), indent=1, default=str))
    # A package is for any region, but Chalice wants to know one.
    region = {"AWS_DEFAULT_REGION": "us-east-1"}
    arguments = ("package", "--stage", stage, "--merge-template", str(extras), str(folder))
    app.chalice(*arguments, project=source, environment=region)
    template = folder / "template.json"
    (folder / "sam.json").replace(template)
    extras.unlink()
    return template


def _extras(stage: str, architecture: str) -> Template:
    """Return what Chalice's own template lacks."""
    stack, events = description.stack(), description.events()
    for output in stack["Outputs"].values():
        output.pop("Export", None)
    limits = description.reserved(stage)
    parameters = stack["Parameters"] | {
        f"{logical_id(function)}Concurrency": {
            "Type": "Number",
            # A new account has 10 in all, and can reserve none of them.
            "Default": 0,
            "MinValue": 0,
            "Description": f"Reserved concurrency of {function}; 0 reserves none. {limit} if the account has it.",
        }
        for function, limit in limits.items()
    }
    parameters["FunctionUrls"] = events["Parameters"]["FunctionUrls"]
    parameters["Architecture"] = {"Type": "String", "Default": architecture, "AllowedValues": [architecture]}
    parameters["Stage"] = {"Type": "String", "Default": stage, "AllowedValues": [stage]}
    conditions = {
        f"Limits{logical_id(function)}": {
            "Fn::Not": [{"Fn::Equals": [{"Ref": f"{logical_id(function)}Concurrency"}, 0]}]
        }
        for function in limits
    }
    # Resources refer to each other where two stacks go by parameters and names, so that CloudFormation knows the order.
    refs = {f"atoll-${{Stage}}-{function}": {"Ref": logical_id(function)} for function in description.functions()}
    outputs = {name: output["Value"] for name, output in stack["Outputs"].items()}

    def join(value: Any) -> Any:
        match value:
            case {"Ref": str(name)}:
                return outputs.get(name, value)
            case {"Fn::Sub": str(name)}:
                return refs.get(name, value)
        return value

    functions = {
        logical_id(function): {"Properties": _properties(stage, function, outputs)}
        for function in description.functions()
    }
    group_arn = {"Fn::Sub": "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:${AccessLogs}"}
    logged = {"DestinationArn": group_arn, "Format": access_log.FORMAT}
    api = {
        "Properties": {
            "Name": "atoll",
            "TracingEnabled": {"Fn::If": ["Traces", True, False]},
            "AccessLogSetting": {"Fn::If": ["LogsAccess", logged, {"Ref": "AWS::NoValue"}]},
        }
    }
    return {
        "Description": f"Atoll, stage {stage}: everything in one stack.",
        "Parameters": parameters,
        "Conditions": stack["Conditions"] | events["Conditions"] | conditions,
        "Resources": stack["Resources"] | mapped(events["Resources"], join) | functions | {"RestAPI": api},
        "Outputs": stack["Outputs"] | events["Outputs"],
    }


def _properties(stage: str, function: str, outputs: dict[str, Any]) -> dict[str, Any]:
    """Return the properties of a function whose values only CloudFormation knows."""
    environment = {variable: outputs[output] for variable, output in description.ENVIRONMENT.items()}
    properties: dict[str, Any] = {
        "FunctionName": description.function_name(stage, function),
        "Environment": {"Variables": environment},
        "Tracing": {"Fn::If": ["Traces", "Active", "PassThrough"]},
    }
    if function in description.LOGGING:
        properties["LoggingConfig"] = description.LOGGING[function]
    if function in description.reserved(stage):
        name = logical_id(function)
        limit = {"Fn::If": [f"Limits{name}", {"Ref": f"{name}Concurrency"}, {"Ref": "AWS::NoValue"}]}
        properties["ReservedConcurrentExecutions"] = limit
    return properties
