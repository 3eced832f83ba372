"""ECS task definitions of agents, as they are asked for."""

import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.session import get_session
from botocore.validate import validate_parameters

from chalicelib.aws.task_definitions import TaskDefinitions, definition_of
from chalicelib.domain import agent_files, errors
from chalicelib.settings import Settings
from chalicelib.store.registry import RegistryAgentRecord
from chalicelib.wire.identifiers import RuntimeId

FS = '[options.F]\ntype = "string"\ntransport = "fs"'


def definition(
    runtimes: str,
    runtime: RuntimeId = "docker",
    *,
    version: str = "1.0.0",
    base_path: str | None = None,
    **settings: Any,
) -> dict[str, Any]:
    text = f'edition = 4\n[agent]\nname = "a-b"\nversion = "{version}"\n{runtimes}'
    parsed = agent_files.parse(text)
    record = RegistryAgentRecord(
        name="a-b",
        version=version,
        agent=parsed.model_dump_json(by_alias=True, exclude_none=True),
        digest="",
        registered_at_ms=0,
        base_path=base_path,
        fargate=parsed.fargate.model_dump(exclude_none=True) if parsed.fargate else None,
    )
    request = definition_of(record, runtime, Settings(stage="prod", **settings), "eu-west-1")
    shape = get_session().get_service_model("ecs").operation_model("RegisterTaskDefinition").input_shape
    assert shape is not None
    validate_parameters(request, shape)
    return request


def test_a_docker_runtime_is_one_container_on_fargate() -> None:
    made = definition('[runtimes.docker]\nimage = "i:1"\ncommand = ["x", "y"]')
    assert made["family"] == "atoll-prod-a-b-1_0_0-docker"
    assert (made["cpu"], made["memory"], made["networkMode"]) == ("256", "512", "awsvpc")
    assert made["requiresCompatibilities"] == ["FARGATE"]
    assert made["executionRoleArn"] == "atoll-prod-us-east-1-agent-execution"
    assert made["taskRoleArn"] == "atoll-prod-us-east-1-agent-task"
    [container] = made["containerDefinitions"]
    assert (container["name"], container["image"], container["command"]) == ("agent", "i:1", ["x", "y"])
    assert container["logConfiguration"]["options"] == {
        "awslogs-group": "/atoll/prod/agents",
        "awslogs-region": "eu-west-1",
        "awslogs-stream-prefix": "a-b/1.0.0",
        "mode": "non-blocking",
        "max-buffer-size": "10m",
    }
    assert made["runtimePlatform"] == {"cpuArchitecture": "X86_64", "operatingSystemFamily": "LINUX"}
    assert "ephemeralStorage" not in made
    assert "repositoryCredentials" not in container
    assert "environment" not in container


def test_an_image_keeps_its_own_command_without_another() -> None:
    [container] = definition('[runtimes.docker]\nimage = "i"')["containerDefinitions"]
    assert "command" not in container


@pytest.mark.parametrize(
    ("image", "run"),
    [
        ("i", "i:1.0.0-rc.1_b"),
        ("host:5000/a/i", "host:5000/a/i:1.0.0-rc.1_b"),
        ("i:2", "i:2"),
        ("host:5000/i:latest", "host:5000/i:latest"),
        (f"i@sha256:{'0' * 64}", f"i@sha256:{'0' * 64}"),
    ],
)
def test_an_image_without_a_tag_has_the_agents_version(image: str, run: str) -> None:
    made = definition(f'[runtimes.docker]\nimage = "{image}"', version="1.0.0-rc.1+b")
    assert made["containerDefinitions"][0]["image"] == run


@pytest.mark.parametrize("version", ["1.0.0", "1.0.0-rc.1", "1.0.0+a.b-c"])
def test_a_family_has_what_ecs_allows(version: str) -> None:
    family = definition('[runtimes.docker]\nimage = "i"', version=version)["family"]
    assert all(letter.isascii() and (letter.isalnum() or letter in "-_") for letter in family)


def test_files_are_fetched_before_the_agent_starts() -> None:
    made = definition(f'[runtimes.docker]\nimage = "i"\n{FS}', options_image="fetcher:1")
    agent, first = made["containerDefinitions"]
    assert agent["dependsOn"] == [{"containerName": "options", "condition": "SUCCESS"}]
    assert (first["name"], first["image"], first["essential"], first["user"]) == ("options", "fetcher:1", False, "0")
    [read], [written] = agent["mountPoints"], first["mountPoints"]
    assert read["sourceVolume"] == written["sourceVolume"] == made["volumes"][0]["name"]
    assert read["containerPath"] == written["containerPath"] == "/coral/options"
    assert (read["readOnly"], written["readOnly"]) == (True, False)
    assert agent["memory"] + first["memory"] <= int(made["memory"])


def test_what_fetches_them_is_of_one_digest_and_may_do_nothing_else_that_root_may() -> None:
    made = definition(f'[runtimes.docker]\nimage = "i"\n{FS}')
    [first] = [each for each in made["containerDefinitions"] if each["name"] == "options"]
    assert re.fullmatch(r"public\.ecr\.aws/[a-z/:.-]+@sha256:[0-9a-f]{64}", first["image"])
    assert first["linuxParameters"] == {"capabilities": {"drop": ["ALL"]}}


def test_a_process_starts_in_the_folder_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "run.sh").touch()
    text = '[runtimes.executable]\npath = "{}"\narguments = ["x"]'
    here = definition(text.format("./run.sh"), "executable", base_path=str(tmp_path))["containerDefinitions"][0]
    assert here["command"] == [str(tmp_path / "run.sh"), "x"]
    assert (here["image"], here["workingDirectory"]) == ("executable", str(tmp_path))
    on_path = definition(text.format("sh"), "executable", base_path=str(tmp_path))["containerDefinitions"][0]
    assert on_path["command"] == ["sh", "x"]
    absolute = definition(text.format("/bin/sh"), "executable", base_path=str(tmp_path))["containerDefinitions"][0]
    assert absolute["command"] == ["/bin/sh", "x"]


DOCKER = '[runtimes.docker]\nimage = "i"\n'
FARGATE = f"{DOCKER}[runtimes.docker.fargate]\n"


def test_an_agents_file_says_what_its_task_is_like() -> None:
    size = "cpu = 1024\nmemory_mib = 3072\nephemeral_storage_gib = 50"
    made = definition(f'{FARGATE}{size}\narchitecture = "arm64"\ncredentials = "hub"')
    assert (made["cpu"], made["memory"]) == ("1024", "3072")
    assert made["runtimePlatform"]["cpuArchitecture"] == "ARM64"
    assert made["ephemeralStorage"] == {"sizeInGiB": 50}
    [container] = made["containerDefinitions"]
    assert container["memory"] == 3072
    assert container["repositoryCredentials"] == {"credentialsParameter": "atoll-prod/images/hub"}


def test_the_architecture_is_a_setting_unless_a_file_names_it() -> None:
    assert definition(DOCKER, agent_architecture="arm64")["runtimePlatform"]["cpuArchitecture"] == "ARM64"
    named = definition(f'{FARGATE}architecture = "x86_64"', agent_architecture="arm64")
    assert named["runtimePlatform"]["cpuArchitecture"] == "X86_64"


@pytest.mark.parametrize(
    ("table", "fault"),
    [
        ("cpu = 1024", "both cpu and memory_mib"),
        ("cpu = 300\nmemory_mib = 512", "cpu"),
        ("cpu = 256\nmemory_mib = 4096", "has 4096 MiB for 256 CPU units"),
        ("cpu = 8192\nmemory_mib = 17408", "has 17408 MiB for 8192 CPU units"),
        ('architecture = "mips"', "architecture"),
        ("ephemeral_storage_gib = 20", "ephemeral_storage_gib"),
        ("ephemeral_storage_gib = 201", "ephemeral_storage_gib"),
        ('credentials = "../agent-key"', "credentials"),
        ("memory = 512", "memory"),
        ('spot = "yes"', "spot"),
    ],
)
def test_what_fargate_does_not_have_is_refused(table: str, fault: str) -> None:
    with pytest.raises(errors.BadRequest, match=f"fargate.*{fault}"):
        definition(FARGATE + table)


def test_what_is_atolls_own_is_in_no_answer() -> None:
    agent = agent_files.parse(f'edition = 4\n[agent]\nname = "a"\nversion = "1.0.0"\n{FARGATE}spot = true')
    assert agent.fargate is not None
    assert agent.fargate.spot
    assert "fargate" not in agent.model_dump_json(by_alias=True)
    assert "fargate" not in json.dumps(type(agent).model_json_schema())


def test_size_and_roles_are_settings() -> None:
    made = definition(
        '[runtimes.docker]\nimage = "i"',
        agent_cpu=1024,
        agent_memory_mib=4096,
        agent_execution_role="arn:aws:iam::1:role/e",
        agent_task_role="arn:aws:iam::1:role/t",
    )
    assert (made["cpu"], made["memory"], made["containerDefinitions"][0]["memory"]) == ("1024", "4096", 4096)
    assert (made["executionRoleArn"], made["taskRoleArn"]) == ("arn:aws:iam::1:role/e", "arn:aws:iam::1:role/t")


def test_a_definitions_digest_covers_everything_in_its_request() -> None:
    """Memory that was raised, or another region: an agent that was launched before gets a definition of its own."""
    text = '[runtimes.docker]\nimage = "i:1"'
    record = RegistryAgentRecord(
        name="a-b",
        version="1.0.0",
        agent=agent_files.parse(f'edition = 4\n[agent]\nname = "a-b"\nversion = "1.0.0"\n{text}').model_dump_json(
            by_alias=True, exclude_none=True
        ),
        digest="",
        registered_at_ms=0,
        base_path=None,
    )

    def word(region: str, **settings: Any) -> str:
        client = boto3.client("ecs", region_name=region)
        return TaskDefinitions(client, Settings(stage="prod", **settings)).wanted(record, "docker")[0]

    usual = word("eu-west-1")
    assert usual == word("eu-west-1")
    assert len({usual, word("eu-west-1", agent_memory_mib=1024), word("us-east-1")}) == 3


@pytest.mark.parametrize(
    ("cpu", "memory_mib", "takes"), [(256, 512, True), (512, 512, False), (512, 1_024, True), (300, 512, False)]
)
def test_a_deployment_has_a_size_that_fargate_has(cpu: int, memory_mib: int, takes: bool) -> None:
    with nullcontext() if takes else pytest.raises(ValueError, match=f"no {memory_mib} MiB for {cpu} CPU units"):
        Settings(agent_cpu=cpu, agent_memory_mib=memory_mib)
