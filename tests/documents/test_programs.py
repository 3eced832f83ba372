"""What the checks of command lines let through, and what they do not: nothing runs them in the documents."""

import shlex

import pytest

from tests.documents.blocks import ROOT
from tests.documents.programs import Wrong, check, check_mention

RIGHT = (
    "atoll keys make ann --stage prod -n shop --limit sessions=20",
    "atoll deploy --stage prod --package out",
    "atoll --install-completion",
    "atoll run --help",
    "aws s3api list-objects-v2 --bucket a --region eu-central-1",
    "aws cloudformation deploy --template-file a --stack-name b",
    "aws lambda create-function --function-name a --role b --zip-file fileb://c",
    "curl -s http://localhost/prod/api/v1/local/session/a/b/extended?x=1",
    "curl -X PUT http://a/api/v1/registry/local/echo/1.0.0 --data-binary @agents/echo/coral-agent.toml",
    "docker build -t a -f agents/echo/Dockerfile agents",
    "make run LLM_PROXY=examples/offline-models.toml",
    "make",
    "pip install -r requirements.txt",
    "python -m tests.offline_models",
    "python -m venv .venv",
    "python agents/run.py echo",
)

WRONG = {
    "atoll kyes list": "No such command 'kyes'",
    "atoll deploy --stage prod --relative": "No such option: --relative",
    "atoll keys make --stage prod": "Missing",
    "atoll keys": "command is missing",
    "aws ecz describe-clusters": "no service ecz",
    "aws ecs start-tasks": "no command start-tasks",
    "aws ecs stop-task --task a --because b": "no option --because",
    "aws ecs stop-task --cluster a": "needs --task",
    "aws cloudformation deploy --stack a": "no option --stack",
    "curl -s http://a/api/v1/local/sessions": "no path /api/v1/local/sessions",
    "curl -X PUT http://a/api/v1/local/session": "takes POST, not PUT",
    "curl http://a/api/v1/local/session -d @nothing.json": "there is no nothing.json",
    "docker build -f Dockerfile agents": "there is no Dockerfile",
    "docker construct .": "no command construct",
    "make runs": "no target runs",
    "make run AGENT=a": "reads no AGENT",
    "make run LLM_PROXY=nothing.toml": "there is no nothing.toml",
    "pip install -r nothing.txt": "there is no nothing.txt",
    "pip install mcp==1.0.0": "the tests have mcp",
    "npm install @modelcontextprotocol/sdk@1.0.0": "the tests have @modelcontextprotocol/sdk",
    "python -m infra.keys": "no program infra.keys",
    "python -m infra.none": "no program infra.none",
    "python infra/deploy.py": "there is no infra/deploy.py",
}


@pytest.mark.parametrize("line", RIGHT)
def test_what_is_right_passes(line: str) -> None:
    name, *arguments = shlex.split(line)
    check(name, arguments, ROOT)


@pytest.mark.parametrize(("line", "fault"), WRONG.items())
def test_what_is_wrong_is_named(line: str, fault: str) -> None:
    name, *arguments = shlex.split(line)
    with pytest.raises(Wrong, match=fault):
        check(name, arguments, ROOT)


@pytest.mark.parametrize("text", ["atoll logs <session> --follow", "make unit", "atoll run", "nothing of ours", "it's"])
def test_a_sentence_may_say_half_a_command(text: str) -> None:
    check_mention(text)


@pytest.mark.parametrize("text", ["atoll logs --folow", "atoll agents nw", "make units", "python -m infra.keys"])
def test_a_sentence_may_not_say_what_is_not_there(text: str) -> None:
    with pytest.raises(Wrong):
        check_mention(text)
