"""What an agent's process finds in its environment and its files."""

import base64
import io
import json
import struct
import tarfile
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chalicelib.aws.task_overrides import MAX_LINE_BYTES, environment_file, fault_of_line, overrides
from chalicelib.domain import agent_environment, options
from chalicelib.domain.agent_environment import TaskEnvironment
from chalicelib.domain.errors import BadRequest
from chalicelib.settings import Settings, Urls
from chalicelib.store.agents import AgentRecord
from infra.local.ecs import environment_files
from tests.unit.options.agents import RANGES, TYPES, entries, f32s, read, resolved, scalar_of, values

FORMATS = {"i8": ">b", "i16": ">h", "i32": ">i", "i64": ">q", "u8": ">B", "u16": ">H", "u32": ">I", "u64": ">Q"}
FORMATS |= {"f32": ">f", "f64": ">d", "bool": ">?"}


def parsed(scalar: str, text: str) -> Any:
    """What an agent reads from a variable."""
    if scalar in RANGES:
        return int(text)
    if scalar in ("f32", "f64"):
        return struct.unpack(FORMATS[scalar], struct.pack(FORMATS[scalar], float(text)))[0]
    if scalar == "bool":
        return {"1": True, "0": False}[text]
    return base64.b64decode(text, validate=True) if scalar == "blob" else text


def unpacked(scalar: str, content: bytes) -> Any:
    """What an agent reads from a file."""
    if scalar in FORMATS:
        return struct.unpack(FORMATS[scalar], content)[0]
    return content if scalar == "blob" else content.decode()


def separable(kind: str, value: Any) -> bool:
    text = "".join(map(str, entries(kind, value))) if scalar_of(kind) == "string" else ""
    return "\0" not in text and "," not in text


@pytest.mark.parametrize("kind", TYPES)
@given(data=st.data())
def test_a_variable_has_the_value_as_text(kind: str, data: st.DataObject) -> None:
    value = read(kind, data.draw(values(kind).filter(lambda value: separable(kind, value))))
    text = options.environment(resolved(f'type = "{kind}"', value))["X"]
    if not kind.startswith("list["):
        assert parsed(kind, text) == value.value
    elif value.value:
        assert [parsed(scalar_of(kind), part) for part in text.split(",")] == value.value
    else:
        assert text == ""


@pytest.mark.parametrize("kind", TYPES)
@given(data=st.data())
def test_files_have_the_value_in_binary_and_the_variable_their_paths(kind: str, data: st.DataObject) -> None:
    value = read(kind, data.draw(values(kind)))
    made = resolved(f'type = "{kind}"\ntransport = "fs"', value)
    paths = [path for path in options.environment(made, directory="/d")["X"].split(":") if path]
    files = options.files(made)
    assert paths == [f"/d/{path}" for path in files]
    assert [unpacked(scalar_of(kind), content) for content in files.values()] == entries(kind, value.value)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_strings_with_base64_carry_commas_and_nul(texts: list[str]) -> None:
    made = resolved('type = "list[string]"\nbase64 = true', read("list[string]", texts))
    parts = options.environment(made)["X"].split(",")
    assert [base64.b64decode(part).decode() for part in parts] == texts


def test_base64_is_of_the_environment_only() -> None:
    made = resolved('type = "string"\nbase64 = true\ntransport = "fs"', read("string", "hé"))
    assert list(options.files(made).values()) == ["hé".encode()]


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.1, "0.1"), (3.14, "3.14"), (1, "1.0"), (-0.0, "-0.0"), (16777216, "16777216.0"), (3.4028234663852886e38, None)],
)
def test_an_f32_is_as_short_as_32_bits_allow(number: float, text: str | None) -> None:
    found = options.environment(resolved('type = "f32"', read("f32", number)))["X"]
    assert found == text or (text is None and float(found) < 3.403e38)


@given(f32s)
def test_no_shorter_text_reads_as_the_same_f32(number: float) -> None:
    text = options.environment(resolved('type = "f32"', read("f32", number)))["X"]
    digits = len(text.split("e")[0].replace(".", "").replace("-", "").strip("0"))
    assert struct.pack(">f", float(text)) == struct.pack(">f", number)
    for fewer in range(1, digits):
        try:
            assert struct.pack(">f", float(f"{number:.{fewer}g}")) != struct.pack(">f", number)
        except OverflowError:
            continue


def test_options_in_files_are_in_the_archive() -> None:
    made = resolved(
        'type = "list[string]"\ntransport = "fs"',
        read("list[string]", ["a", "", "c"]),
        more='[options.Y]\ntype = "bool"\ndefault = true\ntransport = "fs"',
    )
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(options.archive(made)))) as tar:
        found = {entry.name: tar.extractfile(entry).read() for entry in tar}  # type: ignore[union-attr]
        assert all(entry.isreg() and entry.mode == 0o444 for entry in tar)
    assert found == {"X/0": b"a", "X/1": b"", "X/2": b"c", "Y/0": b"\x01"}


def size_of(whole: Any) -> int:
    return len(json.dumps(whole, separators=(",", ":"), ensure_ascii=False).encode())


@pytest.mark.parametrize("more", [{}, {"options": {"ATOLL_OPTIONS_URL": "https://a/b"}}])
def test_8192_bytes_of_overrides_are_taken_and_one_more_is_not(more: dict[str, dict[str, str]]) -> None:
    environment = {"A": "", "SMALL": "y", "B": "é" * 50}
    files = {"agent": "arn:aws:s3:::bucket/key.env"}
    environment["A"] = "x" * (8192 - size_of(overrides({"agent": environment, **more}, files)))
    options.check_overrides_size("worker", overrides({"agent": environment, **more}, files))
    environment["A"] += "x"
    with pytest.raises(BadRequest) as caught:
        options.check_overrides_size("worker", overrides({"agent": environment, **more}, files))
    message = str(caught.value)
    assert "'worker' takes 8193 bytes" in message
    assert "ECS allows 8192" in message
    assert f"A ({len(environment['A'])} bytes), B (100 bytes), SMALL (1 bytes)" in message
    assert "xx" not in message


carried = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), min_size=1, max_size=60)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_$]{0,8}", fullmatch=True)


@given(st.dictionaries(names, carried, max_size=6))
@example(
    {"A": "#no comment", "B": "a=b", "C": "'quoted' \"twice\"", "D": " spaces ", "E": "$HOME\\n", "F": "\x85\u2028\f"}
)
@example({"A": "x" * (MAX_LINE_BYTES - 2)})
def test_an_environment_file_carries_what_it_is_said_to_carry(variables: dict[str, str]) -> None:
    assert not any(fault_of_line(name, value) for name, value in variables.items())
    assert environment_files.parsed(environment_file(variables)) == variables


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("", "is empty"),
        ("a\nb", "has a line break"),
        ("a\r", "has a line break"),
        ("x" * (MAX_LINE_BYTES - 1), "takes more than 32768 bytes with its name"),
    ],
    ids=["empty", "newline", "return", "long"],
)
def test_what_an_environment_file_does_not_carry_is_named(value: str, fault: str) -> None:
    assert fault_of_line("A", value) == fault
    assert (
        environment_files.parsed(environment_file({"A": value, "B": "b"})) != {"A": value, "B": "b"}
        or "more than" in fault
    )


PEM = "-----BEGIN KEY-----\nhunter22\n"


def worker(runtime: str = "docker", prompt: str | None = None) -> AgentRecord:
    made_of = {"name": "a", "version": "1.0.0", "registrySourceId": {"type": "local"}}
    return AgentRecord(
        session_id="s",
        namespace="ns",
        name="worker",
        position=3,
        registry_agent_identifier=made_of,
        runtime=runtime,
        expires_at=0,
        system_prompt=prompt,
    )


def environment_of(agent: AgentRecord, values: options.ResolvedOptions) -> TaskEnvironment:
    return agent_environment.of(agent, "the secret", values.to_json(), Urls("https://api", "https://mcp"))


def test_overrides_have_identifiers_and_nothing_that_a_session_is_about() -> None:
    option, more = 'type = "string"\nsecret = true', '[options.Y]\ntype = "string"\ntransport = "fs"\ndefault = "f"'
    found = environment_of(worker(prompt="Be brief."), resolved(option, read("string", "hunter22"), more=more))
    agent, first = found.overrides(Settings())["containerOverrides"]
    identifiers = {"CORAL_AGENT_ID", "CORAL_SESSION_ID", "CORAL_API_URL", "CORAL_RUNTIME_ID"}
    assert {variable["name"] for variable in agent["environment"]} == identifiers
    assert {variable["name"] for variable in first["environment"]} == {"ATOLL_OPTIONS_URL"}
    where = "arn:aws:s3:::atoll-dev-bodies-123456789012-us-east-1/environments/s/3"
    assert agent["environmentFiles"] == [{"type": "s3", "value": f"{where}-agent.env"}]
    assert first["environmentFiles"] == [{"type": "s3", "value": f"{where}-options.env"}]
    one, two = (environment_files.parsed(content) for _, content in found.files())
    assert one == {
        "CORAL_CONNECTION_URL": "https://mcp/mcp/v1/the secret/mcp",
        "CORAL_AGENT_SECRET": "the secret",
        "CORAL_PROMPT_SYSTEM": "Be brief.",
        "X": "hunter22",
        "Y": "/coral/options/Y/0",
    }
    assert two == {"ATOLL_OPTIONS_TOKEN": "the secret"}
    assert [key for key, _ in found.files()] == agent_environment.keys_of(worker())
    assert "hunter22" not in repr(found)


def test_what_a_file_does_not_carry_and_is_no_secret_is_in_the_overrides() -> None:
    found = environment_of(worker(prompt="Be\nbrief."), resolved('type = "string"', read("string", "")))
    [agent] = found.overrides(Settings())["containerOverrides"]
    shown = {variable["name"]: variable["value"] for variable in agent["environment"]}
    assert (shown["CORAL_PROMPT_SYSTEM"], shown["X"]) == ("Be\nbrief.", "")


@pytest.mark.parametrize(
    ("option", "kind", "value", "refused"),
    [
        ('type = "string"\nsecret = true', "string", PEM, True),
        ('type = "string"\nsecret = true', "string", "x" * MAX_LINE_BYTES, True),
        ('type = "list[string]"\nsecret = true', "list[string]", ["a", PEM], True),
        ('type = "string"\nsecret = true', "string", "", False),
        ('type = "string"\nsecret = true\nbase64 = true', "string", PEM, False),
        ('type = "string"\nsecret = true\ntransport = "fs"', "string", PEM, False),
        ('type = "string"', "string", PEM, False),
    ],
    ids=["break", "long", "list", "empty", "base64", "file", "no secret"],
)
def test_a_secret_that_no_file_carries_is_refused(option: str, kind: str, value: Any, refused: bool) -> None:
    values = resolved(option, read(kind, value))
    if refused:
        with pytest.raises(BadRequest, match="the option 'X' of the agent 'worker' is secret and") as caught:
            options.check_secrets_travel("worker", values, options.environment(values))
        assert "hunter22" not in str(caught.value)
    else:
        options.check_secrets_travel("worker", values, options.environment(values))
