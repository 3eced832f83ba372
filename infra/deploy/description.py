"""The one description of a stage, from which both ways of deploying it are made.

What is not code is in ``infra/templates``; functions, their sizes, policies and limits are in ``.chalice``, as Chalice
reads them. This module joins them. The outputs of ``stack.yaml`` are what others need: functions get those that
`ENVIRONMENT` names as variables, ``events.yaml`` gets those that its parameters name. Deployed in steps they are
values of the finished stack, in the package they are what the outputs are made of. ``address.yaml``, which not every
stage has, gets outputs of ``events.yaml``.
"""

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from infra.deploy import Failed
from infra.local.cloudformation.templates import load

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "infra/templates"

Template = dict[str, Any]
Config = dict[str, Any]

#: What is known only of one account: variables of all functions, and the outputs of ``stack.yaml`` that they are.
ENVIRONMENT = {
    "ATOLL_ACCOUNT": "Account",
    "ATOLL_PARTITION": "Partition",
    "ATOLL_SUBNETS": "Subnets",
    "ATOLL_SECURITY_GROUPS": "SecurityGroups",
    "ATOLL_ASSIGN_PUBLIC_IP": "AssignPublicIp",
    "ATOLL_AGENT_EXECUTION_ROLE": "AgentExecutionRole",
    "ATOLL_AGENT_TASK_ROLE": "AgentTaskRole",
    "ATOLL_AGENT_ARCHITECTURE": "AgentArchitecture",
    "ATOLL_HISTORY_DAYS": "HistoryDays",
    "ATOLL_MCP_WAIT_HOLD_MS": "WaitHoldMs",
    "ATOLL_SESSION_DAYS": "SessionDays",
    "ATOLL_MAX_SESSION_DAYS": "MaxSessionDays",
}

#: How functions log, where that differs from what Lambda does by itself (its Developer Guide, "Log-level filtering").
#: `on_entry` runs for each entry of each session's log, and `on_log_lines` for what agents print, mostly to find that
#: nobody follows: Lambda's own lines about a success (START, END, REPORT, which are INFO) would cost as much as all
#: else. What they and Lambda say of a failure, and their metrics, which count as INFO, are written as ever. DEBUG would
#: have libraries log what is in sessions.
_QUIET = {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "WARN"}
LOGGING = {"on_entry": _QUIET, "on_log_lines": _QUIET}

#: What a function may do besides when X-Ray traces it. Neither action knows resources.
TRACING = {
    "Sid": "Trace",
    "Effect": "Allow",
    "Action": ["xray:PutTelemetryRecords", "xray:PutTraceSegments"],
    "Resource": ["*"],
}

#: Largest template that a call may carry (CloudFormation quotas, "Template body size in a request").
MAX_TEMPLATE_BYTES = 51_200


def stack() -> Template:
    """Return the template of everything that is not a Lambda, the definitions of its state machines in their places."""
    template = load(TEMPLATES / "stack.yaml")
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::StepFunctions::StateMachine":
            definition = json.loads((TEMPLATES / resource["Properties"].pop("DefinitionS3Location")).read_text())
            resource["Properties"]["DefinitionString"] = _minified(definition)
    return template


def events() -> Template:
    """Return the template of what calls the functions."""
    return load(TEMPLATES / "events.yaml")


def regions_without_function_urls() -> set[str]:
    """Return the regions in which the template makes no Function URL, whatever is asked."""
    alternatives = events()["Conditions"]["LacksFunctionUrls"]["Fn::Or"]
    return {test["Fn::Equals"][1] for each in alternatives for test in each["Fn::Or"]}


def address() -> Template:
    """Return the template of the one address in front of a stage."""
    return load(TEMPLATES / "address.yaml")


def only(template: Template, resources: Collection[str]) -> Template:
    """Return the template that an import of resources takes: it may bring nothing else, not even outputs.

    With them come the parameters and conditions that they name.
    """
    wanted = {name: template["Resources"][name] for name in resources}
    text = _minified(wanted)
    conditions = {name: each for name, each in template["Conditions"].items() if f'"Fn::If":["{name}"' in text}
    text += _minified(conditions)
    parameters = template["Parameters"].items()
    return {
        "AWSTemplateFormatVersion": template["AWSTemplateFormatVersion"],
        "Parameters": {name: each for name, each in parameters if name == "Stage" or f'"Ref":"{name}"' in text},
        **({"Conditions": conditions} if conditions else {}),
        "Resources": wanted,
    }


def body(template: Template) -> str:
    """Return a template as a call carries it: without what is for those who read it here.

    That is comments, metadata, and descriptions of parameters, which nobody is asked for.

    Raises `Failed` when it is too large for a call.
    """
    resources = {
        name: {key: value for key, value in resource.items() if key != "Metadata"}
        for name, resource in template["Resources"].items()
    }
    read_here = ("Description", "ConstraintDescription")
    parameters = {
        name: {key: value for key, value in parameter.items() if key not in read_here}
        for name, parameter in template.get("Parameters", {}).items()
    }
    shown = {key: value for key, value in template.items() if key != "Metadata"}
    text = _minified({**shown, **({"Parameters": parameters} if parameters else {}), "Resources": resources})
    if len(text.encode()) > MAX_TEMPLATE_BYTES:
        raise Failed(f"the template has {len(text.encode())} bytes, a call takes {MAX_TEMPLATE_BYTES}")
    return text


def _minified(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), default=str)


def outlives_its_stack(resource: Mapping[str, Any]) -> bool:
    """Return whether a resource is kept when its stack is deleted."""
    return resource.get("DeletionPolicy") == "RetainExceptOnCreate"


_NAME_KEYS = (
    "TableName", "BucketName", "QueueName", "StateMachineName", "ClusterName", "RoleName", "LogGroupName",
    "AlarmName", "TopicName", "DashboardName", "Name",
)  # fmt: skip


def name_of(resource: Mapping[str, Any], values: Mapping[str, str]) -> str:
    """Return the name that a resource gets, placeholders filled in as far as known; empty when it has no name."""
    properties = resource.get("Properties", {})
    name = next((properties[key] for key in _NAME_KEYS if key in properties), "")
    return _filled(str(name.get("Fn::Sub", "") if isinstance(name, dict) else name), values)


def _filled(text: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        text = text.replace("${" + placeholder + "}", value)
    return text


def config() -> Config:
    """Return the configuration of the functions that is the same for everybody."""
    return dict(json.loads((ROOT / ".chalice/config.json").read_text()))


def functions() -> list[str]:
    """Return the names of the functions, the REST API's (``api_handler``) first."""
    return list(config()["lambda_functions"])


#: What names of stacks end with, besides the one that is named after its stage alone.
STACKS = ("roles", "events", "address")


def function_name(stage: str, function: str) -> str:
    """Return a function's name on AWS."""
    return f"atoll-{stage}" if function == "api_handler" else f"atoll-{stage}-{function}"


def reserved(stage: str) -> dict[str, int]:
    """Return the reserved concurrency of each function that has one.

    Raises `Failed` for an unknown stage, and for one whose function or stack has the name of another stage's.
    """
    stages = config()["stages"]
    ends = [end for end in (*functions()[1:], *STACKS) if stage.endswith(f"-{end}")]
    if ends:
        other = stage.removesuffix(f"-{ends[0]}")
        raise Failed(
            f"no stage can be {stage!r}: {function_name(stage, 'api_handler')} is a name of the stage {other!r}"
        )
    if stage not in stages:
        raise Failed(f"there is no stage {stage!r} in .chalice/config.json, only {', '.join(stages)}: add it there")
    settings = stages[stage]["lambda_functions"].items()
    return {name: each["reserved_concurrency"] for name, each in settings if "reserved_concurrency" in each}


def policy(function: str, names: Mapping[str, str]) -> dict[str, Any]:
    """Return a function's policy with ``${Stage}``, ``${Account}``, ``${Region}`` and ``${Partition}`` filled in."""
    text = (ROOT / ".chalice" / config()["lambda_functions"][function]["iam_policy_file"]).read_text()
    return dict(json.loads(_filled(text, names)))


#: The placeholders of policies, as CloudFormation knows them.
_PSEUDO = {
    "Account": "${AWS::AccountId}",
    "Region": "${AWS::Region}",
    "Partition": "${AWS::Partition}",
}


def cloudformation_policy(stage: str, function: str) -> dict[str, Any]:
    """Return a function's policy as a template has it; its condition `Traces` says whether X-Ray traces it."""
    document = mapped(policy(function, {**_PSEUDO, "Stage": stage}), _substituted)
    document["Statement"].append({"Fn::If": ["Traces", TRACING, {"Ref": "AWS::NoValue"}]})
    return dict(document)


def _substituted(value: Any) -> Any:
    """Let CloudFormation fill in a text that has a placeholder."""
    return {"Fn::Sub": value} if isinstance(value, str) and "${" in value else value


def mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a value with every part of it changed, the outermost first; what has been changed is left alone."""
    changed = change(value)
    if changed is not value:
        return changed
    if isinstance(value, list):
        return [mapped(item, change) for item in value]
    return {key: mapped(item, change) for key, item in value.items()} if isinstance(value, dict) else value


def logical_id(function: str) -> str:
    """Return what Chalice calls a function in a template."""
    return "APIHandler" if function == "api_handler" else "".join(part.capitalize() for part in function.split("_"))


_ASSUMED_BY_LAMBDA = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}


def roles(stage: str) -> Template:
    """Return the template of the functions' roles, whose ARNs are its outputs.

    Names of roles are one for all regions of an account, and Chalice would name them after stage and function: the same
    stage in a second region would overwrite the policies of the first. These get names from CloudFormation.
    """
    made = {
        f"{logical_id(function)}Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "Description": {"Fn::Sub": f"{function_name(stage, function)} in ${{AWS::Region}}"},
                "AssumeRolePolicyDocument": _ASSUMED_BY_LAMBDA,
                "Policies": [{"PolicyName": function, "PolicyDocument": cloudformation_policy(stage, function)}],
            },
        }
        for function in functions()
    }
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "Atoll: the roles of the functions. Deployed before these.",
        "Parameters": {"Tracing": {"Type": "String", "Default": "off", "AllowedValues": ["on", "off"]}},
        "Conditions": {"Traces": {"Fn::Equals": [{"Ref": "Tracing"}, "on"]}},
        "Resources": made,
        "Outputs": {name: {"Value": {"Fn::GetAtt": [name, "Arn"]}} for name in made},
    }


def write_project(
    folder: Path,
    stage: str,
    *,
    environment: Mapping[str, str],
    limits: Mapping[str, int | None],
    traced: bool,
    roles: Mapping[str, str] | None = None,
    architecture: str = "x86_64",
) -> None:
    """Write the Chalice project of one stage, so that deploying changes no file of the repository.

    ``environment`` has more variables of every function, ``limits`` the reserved concurrency of functions (``None``
    reserves none), ``architecture`` the processors that they run on, ``roles`` the ARNs of the roles that there are for
    them. Without these Chalice makes the roles: that is for a package, where CloudFormation names them.
    """
    whole = config()
    wanted = whole["stages"][stage] | {"api_gateway_stage": stage, "xray": traced, "lambda_architecture": architecture}
    wanted["environment_variables"] |= environment
    for name in reserved(stage):
        settings = wanted["lambda_functions"][name]
        del settings["reserved_concurrency"]
        if limits.get(name) is not None:
            settings["reserved_concurrency"] = limits[name]
    for function, arn in (roles or {}).items():
        wanted["lambda_functions"].setdefault(function, {}).update(manage_iam_role=False, iam_role_arn=arn)
    if folder.exists():
        shutil.rmtree(folder)
    (folder / ".chalice").mkdir(parents=True)
    for file in ("app.py", "requirements.txt"):
        shutil.copy(ROOT / file, folder)
    shutil.copytree(ROOT / "chalicelib", folder / "chalicelib", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".chalice/config.json").write_text(json.dumps({**whole, "stages": {stage: wanted}}, indent=2))
    for function, settings in whole["lambda_functions"].items() if roles is None else ():
        document = cloudformation_policy(stage, function)
        (folder / ".chalice" / settings["iam_policy_file"]).write_text(json.dumps(document, indent=2))
