"""``coral-agent.toml``: what is read, and each limit with the error that names it."""

import base64
import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain import agent_files
from chalicelib.domain.errors import BadRequest, TooLarge
from chalicelib.wire.registry import RegistryAgent
from tests.memory import tracing

MINIMAL = {
    "": "edition = 4",
    "agent": 'name = "a"\nversion = "1.0.0"',
    "runtimes.docker": 'image = "a"',
}


def toml(**changes: str) -> str:
    """The smallest file with tables replaced or added; ``__`` in a name is a dot."""
    tables = MINIMAL | {name.replace("__", "."): text for name, text in changes.items()}
    head = tables.pop("")
    return "\n".join([head, *(f"[{name}]\n{text}" for name, text in tables.items() if text is not None)])


def refusal(text: str, folder: Path | None = None) -> str:
    with pytest.raises(BadRequest) as caught:
        agent_files.parse(text, folder)
    return str(caught.value)


def agent_with(key: str, value: str) -> str:
    """The smallest file with one more key in ``[agent]``, or in place of the one of that name."""
    lines = [line for line in MINIMAL["agent"].splitlines() if not line.startswith(f"{key} ")]
    return toml(agent="\n".join([*lines, f"{key} = {value}"]))


def test_the_smallest_file() -> None:
    agent = agent_files.parse(toml())
    assert agent.to_wire() == {
        "edition": 4,
        "info": {
            "identifier": {"name": "a", "version": "1.0.0", "registrySourceId": {"type": "local"}},
            "capabilities": [],
            "keywords": [],
            "links": {},
        },
        "runtimes": {"docker": {"image": "a", "transport": "streamable_http"}},
        "options": {},
        "exportSettings": {},
    }


def test_a_full_file_and_unknown_keys() -> None:
    agent = agent_files.parse(
        """
        edition = 3
        unknown = true
        [agent]
        name = "full-agent"
        version = "1.2.3-rc.1+build.5"
        description = "d"
        summary = "s"
        readme = "r"
        license = { type = "sdpx", expression = "MIT" }
        keywords = ["k"]
        capabilities = ["resources", "tool_refreshing"]
        unknown = 1
        [agent.links]
        source = "https://example.com/x"
        mail = "mailto:a@example.com"
        [runtimes.docker]
        image = "image:1"
        command = ["a", "b c"]
        transport = "sse"
        [runtimes.executable]
        path = "./run"
        arguments = ["x"]
        [runtimes.another]
        iterations = 20
        [options.A]
        type = "string"
        display = { label = "l", description = "d", group = "g", multiline = true }
        unknown = 1
        [[llm.proxies]]
        name = "MAIN"
        format.type = "OpenAI"
        models = ["large", "small", "large"]
        unknown = 1
        [[llm.proxies]]
        name = "2ND_1"
        format.type = "Anthropic"
        [marketplace]
        keywords = ["k"]
        [marketplace.pricing]
        description = "by the hour"
        recommendations = { min = 0, max = 0.5 }
        [marketplace.identities.erc8004]
        wallet = "11111111111111111111111111111111"
        endpoints = [{ name = "a2a", endpoint = "https://agent.example/a2a" }]
        """
    )
    wire = agent.to_wire()
    assert wire["info"]["license"] == {"type": "spdx", "expression": "MIT"}
    assert wire["info"]["links"] == {"source": "https://example.com/x", "mail": "mailto:a@example.com"}
    assert wire["runtimes"] == {
        "docker": {"image": "image:1", "command": ["a", "b c"], "transport": "sse"},
        "executable": {
            "path": "./run",
            "arguments": ["x"],
            "transport": "streamable_http",
        },
    }
    assert wire["llm"] == {
        "proxies": [
            {"name": "MAIN", "format": {"type": "OpenAI"}, "models": ["large", "small"]},
            {"name": "2ND_1", "format": {"type": "Anthropic"}, "models": []},
        ]
    }
    assert wire["marketplace"] == {
        "keywords": ["k"],
        "pricing": {
            "description": "by the hour",
            "currency": "USD",
            "recommendations": {"min": 0.0, "max": 0.5},
        },
        "identities": {
            "erc8004": {
                "wallet": "1" * 32,
                "endpoints": [{"name": "a2a", "endpoint": "https://agent.example/a2a"}],
            }
        },
    }
    assert wire["options"]["A"]["display"] == {"label": "l", "description": "d", "group": "g", "multiline": True}
    assert RegistryAgent.model_validate_json(agent.model_dump_json(by_alias=True, exclude_none=True)) == agent


def test_the_default_of_a_secret_is_not_shown() -> None:
    agent = agent_files.parse(toml(options__S='type = "string"\nsecret = true\ndefault = "hunter2"'))
    assert "hunter2" not in str(agent.shown().to_wire())
    assert agent.options["S"].default == "hunter2"


@pytest.mark.parametrize("edition", ["", "edition = 2", "edition = 5", 'edition = "4"'])
def test_editions_3_and_4_are_read(edition: str) -> None:
    assert "edition" in refusal(toml(**{"": edition}))


@pytest.mark.parametrize("key", ["description", "summary", "readme"])
@pytest.mark.parametrize(("letter", "size"), [("x", 1), ("é", 1), ("研", 1), ("\U0001f600", 2)])
def test_texts_are_measured_in_characters_of_utf_16(key: str, letter: str, size: int) -> None:
    limit = {"description": 1024, "summary": 256, "readme": 4096}[key]
    assert agent_files.parse(agent_with(key, f'"{letter * (limit // size)}"'))
    told = refusal(agent_with(key, f'"{letter * (limit // size + 1)}"'))
    assert f"agent.{key} has {limit + size} characters: 1 to {limit} are allowed" in told
    assert f"agent.{key} has 0 characters" in refusal(agent_with(key, '""'))


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a1-2b-3", "x" * 32])
def test_names_that_are_taken(name: str) -> None:
    assert agent_files.parse(agent_with("name", f'"{name}"')).info.identifier.name == name


@pytest.mark.parametrize("name", ["-a", "a-", "a--b", "A", "a_b", "a b", "ä", "a\\n", "a.b"])
def test_names_that_are_not(name: str) -> None:
    assert "agent.name must be" in refusal(agent_with("name", f'"{name}"'))


def test_lengths_of_names_and_versions() -> None:
    assert "agent.name has 33 characters: 1 to 32 are allowed" in refusal(agent_with("name", f'"{"x" * 33}"'))
    assert "agent.name has 0 characters" in refusal(agent_with("name", '""'))
    assert agent_files.parse(agent_with("version", f'"1.0.0-{"x" * 18}"'))
    told = refusal(agent_with("version", f'"1.0.0-{"x" * 19}"'))
    assert "agent.version has 25 characters: 1 to 24 are allowed" in told


@pytest.mark.parametrize("version", ["0.0.0", "1.0.0-0", "1.0.0-a.b-c.1", "1.0.0+001", "1.2.3-x.7.z.92+a-b.1"])
def test_versions_that_are_taken(version: str) -> None:
    assert agent_files.parse(agent_with("version", f'"{version}"'))


@pytest.mark.parametrize(
    "version", ["1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.0-a..b", "1.0.0 ", "latest"]
)
def test_versions_that_are_not(version: str) -> None:
    assert "agent.version must be a semantic version" in refusal(agent_with("version", f'"{version}"'))


def test_keywords() -> None:
    assert agent_files.parse(agent_with("keywords", str(["x" * 64] * 256))).info.keywords == ["x" * 64]
    assert "agent.keywords has 257 entries: at most 256" in refusal(agent_with("keywords", str(["x"] * 257)))
    assert "agent.keywords.1 has 65 characters: 1 to 64 are allowed" in refusal(
        agent_with("keywords", str(["x", "x" * 65]))
    )


def test_links() -> None:
    def links(count: int) -> str:
        return "{" + ", ".join(f'l{number} = "https://a/{number}"' for number in range(count)) + "}"

    assert len(agent_files.parse(agent_with("links", links(16))).info.links) == 16
    assert "agent.links has 17 entries: at most 16 are allowed" in refusal(agent_with("links", links(17)))
    assert "https, mailto or tel" in refusal(agent_with("links", '{a = "javascript:x"}'))
    assert "has 257 characters" in refusal(agent_with("links", f'{{a = "https://{"x" * 249}"}}'))
    assert "agent.links" in refusal(agent_with("links", '{1a = "https://a"}'))


def test_images() -> None:
    assert agent_files.parse(toml(runtimes__docker=f'image = "{"x" * 512}"'))
    told = refusal(toml(runtimes__docker=f'image = "{"x" * 513}"'))
    assert "runtimes.docker.image has 513 characters: 1 to 512 are allowed" in told
    assert "runtimes.docker.image has 0 characters" in refusal(toml(runtimes__docker='image = ""'))


@pytest.mark.parametrize(
    ("table", "key", "rest"),
    [("runtimes.docker", "command", 'image = "a"'), ("runtimes.executable", "arguments", 'path = "a"')],
)
def test_commands_have_2_kib_together(table: str, key: str, rest: str) -> None:
    def text(parts: list[str]) -> str:
        return toml(**{table: f"{rest}\n{key} = {parts}"})

    assert agent_files.parse(text(["é" * 1024, "x" * 1024]))
    told = refusal(text(["é" * 1024, "x" * 1025]))
    assert f"{table}.{key} has 2049 characters together: at most 2048 are allowed" in told
    assert agent_files.parse(text(["x"] * 1024))
    assert f"{table}.{key} has 1025 entries: at most 1024 are allowed" in refusal(text([""] * 1025))
    assert f"{table}.{key}.0 must not have a NUL" in refusal(toml(**{table: f'{rest}\n{key} = ["\\u0000"]'}))


def test_there_must_be_a_runtime_that_can_run() -> None:
    text = toml().replace("[runtimes.docker]", "[runtimes.another]")
    assert "runtimes must have a docker, an executable, a function or a prototype table" in refusal(text)
    assert "runtimes" in refusal(toml().replace("[runtimes.docker]", "[other]"))


@pytest.mark.parametrize("name", ["1A", '"$A"', "A-B", '"A B"', '"Ä"', '""', f'"{"x" * 257}"'])
def test_names_of_options_that_are_not_taken(name: str) -> None:
    assert "options" in refusal(toml(options=f'{name} = {{ type = "bool" }}'))


def test_options_are_at_most_512() -> None:
    def options(count: int) -> str:
        return toml(options="\n".join(f'O{number} = {{ type = "bool" }}' for number in range(count)))

    assert len(agent_files.parse(options(512)).options) == 512
    assert "options has 513 entries: at most 512 are allowed" in refusal(options(513))


@pytest.mark.parametrize(
    "option",
    [
        'type = "number"',
        'type = "list[bool]"',
        'type = "u8"\ndefault = 256',
        'type = "u8"\ndefault = 1.0',
        'type = "f32"\ndefault = 1e39',
        'type = "f64"\ndefault = nan',
        'type = "f64"\nvalidation.max = inf',
        'type = "i8"\nvalidation.variants = [1000]',
        'type = "blob"\ndefault = "*"',
        'type = "string"\nvalidation.min_length = -1',
        'type = "blob"\nvalidation.max_size = { size = 1, unit = "furlong" }',
        'type = "string"\ntransport = "pigeon"',
        "default = 1",
    ],
)
def test_definitions_of_options_that_make_no_sense(option: str) -> None:
    assert "options.X" in refusal(toml(options__X=option))


@pytest.mark.parametrize(
    "text", ["", "a = ", "[agent]\n[agent]", "a = 1\na = 2", "[" * 50_000, "x = 1e", "\0", "x=2024-13-01"]
)
def test_what_is_no_toml(text: str) -> None:
    assert refusal(text).startswith("coral-agent.toml")


@given(st.text(max_size=60))
def test_no_text_is_more_than_a_refusal(text: str) -> None:
    for whole in (text, f"{toml()}\n{text}"):
        with contextlib.suppress(BadRequest):
            assert agent_files.parse(whole).info.identifier.name == "a"


@pytest.mark.parametrize(("key", "high"), [("label", 64), ("group", 64), ("description", 1024)])
def test_what_a_form_shows_of_an_option_is_limited(key: str, high: int) -> None:
    def shown(text: str) -> str:
        return toml(options__X=f'type = "bool"\ndisplay.{key} = "{text}"')

    assert agent_files.parse(shown("é" * high))
    told = refusal(shown("é" * (high + 1)))
    assert f"options.X.display.{key} has {high + 1} characters: 1 to {high} are allowed" in told
    assert f"options.X.display.{key} has 0 characters" in refusal(shown(""))


WALLET = "1" * 32
MARKETPLACES = [
    'pricing.currency = "USD"',
    'pricing.description = ""',
    f'pricing.description = "{"x" * 257}"',
    'pricing = { description = "d", currency = "EUR" }',
    'pricing = { description = "d", recommendations = { min = -1, max = 1 } }',
    'pricing = { description = "d", recommendations = { min = 20.5, max = 21 } }',
    'pricing = { description = "d", recommendations = { min = 1, max = 1 } }',
    'pricing = { description = "d", recommendations = { min = nan, max = 1 } }',
    f'identities.erc8004.wallet = "{"1" * 24}"',
    f'identities.erc8004.wallet = "{"1" * 33}"',
    f'identities.erc8004.wallet = "{"0" * 32}"',
    f'identities.erc8004.wallet = "{"z" * 200_000}"',
    f'identities.erc8004 = {{ wallet = "{WALLET}", endpoints = [{{ name = "1", endpoint = "https://a" }}] }}',
    f'identities.erc8004 = {{ wallet = "{WALLET}", endpoints = [{{ name = "a", endpoint = "http://a" }}] }}',
    f'identities.erc8004 = {{ wallet = "{WALLET}", endpoints = [{{ name = "a", endpoint = "https:" }}] }}',
    f'identities.erc8004 = {{ wallet = "{WALLET}", endpoints = [{{ name = "{"a" * 33}", endpoint = "https://a" }}] }}',
    "keywords = [1]",
]


@pytest.mark.parametrize("text", MARKETPLACES, ids=lambda text: text[:60])
def test_what_no_marketplace_takes(text: str) -> None:
    assert "marketplace" in refusal(toml(marketplace=text))


@pytest.mark.parametrize("wallet", ["1" * 25, "1" * 32, "4uQeVj5tqViQh7yWWGStvkEG1Zmhx6uasJtWCJziofM"])
def test_wallets_have_25_to_32_bytes(wallet: str) -> None:
    assert agent_files.parse(toml(marketplace=f'identities.erc8004.wallet = "{wallet}"'))


PROXIES = [
    '{ name = "main", format.type = "OpenAI" }',
    '{ name = "", format.type = "OpenAI" }',
    f'{{ name = "{"A" * 33}", format.type = "OpenAI" }}',
    '{ name = "A", format.type = "openai" }',
    '{ name = "A" }',
    '{ name = "A", format = "OpenAI" }',
    '{ name = "A", format.type = "OpenAI" }, { name = "A", format.type = "Anthropic" }',
    '{ name = "A", format.type = "OpenAI", models = [""] }',
    f'{{ name = "A", format.type = "OpenAI", models = ["{"m" * 129}"] }}',
    f'{{ name = "A", format.type = "OpenAI", models = {[f"m{number}" for number in range(33)]} }}',
    ", ".join(f'{{ name = "A{number}", format.type = "OpenAI" }}' for number in range(17)),
]


@pytest.mark.parametrize("proxies", PROXIES, ids=lambda text: text[:60])
def test_models_that_nobody_can_offer(proxies: str) -> None:
    assert "llm" in refusal(toml(llm=f"proxies = [{proxies}]"))


def test_a_byte_order_mark_is_read_over() -> None:
    assert agent_files.parse(f"\ufeff{toml()}") == agent_files.parse(toml())


class TestReferences:
    """Values that stand for a text."""

    @pytest.mark.parametrize(
        ("reference", "text"),
        [
            ('{ type = "string", value = "héllo" }', "héllo"),
            ('{ type = "string", value = "héllo", base64 = true }', "aMOpbGxv"),
            ('{ type = "constant", name = "CORAL_STATE_RESOURCE_URI" }', "coral://state"),
            ('{ type = "constant", name = "CORAL_INSTRUCTION_RESOURCE_URI" }', "coral://instruction"),
        ],
    )
    def test_become_their_text(self, reference: str, text: str) -> None:
        option = f'type = "string"\ndefault = {reference}'
        assert agent_files.parse(toml(options__S=option)).options["S"].default == text
        assert agent_files.parse(agent_with("summary", reference)).info.summary == text

    @pytest.mark.parametrize(
        ("reference", "blob"),
        [
            ('{ type = "string", value = "héllo" }', "héllo".encode()),
            ('{ type = "string", value = "AAE=", base64 = false }', b"\x00\x01"),
        ],
    )
    def test_of_blobs_are_base64_unless_they_say_otherwise(self, reference: str, blob: bytes) -> None:
        option = f'type = "list[blob]"\ndefault = [{reference}]'
        assert agent_files.parse(toml(options__B=option)).options["B"].default == [blob]

    @pytest.mark.parametrize("name", ["SYSTEM", "LOOP_INITIAL_BASE", "LOOP_FOLLOWUP"])
    def test_to_default_prompts_become_texts(self, name: str) -> None:
        found = agent_files.parse(
            agent_with("readme", f'{{ type = "constant", name = "PROTOTYPE_DEFAULT_{name}_PROMPT" }}')
        )
        assert found.info.readme

    @pytest.mark.parametrize(
        ("reference", "said"),
        [
            ('{ type = "constant", name = "NOTHING" }', "no constant 'NOTHING'"),
            ('{ type = "string" }', "value must be text"),
            ('{ type = "string", value = "a", base64 = 1 }', "base64 must be true or false"),
            ('{ type = "url", url = "https://example.com/" }', "names a URL, which is not fetched"),
            ('{ type = "pigeon" }', "type must be"),
        ],
    )
    def test_that_stand_for_nothing_are_named(self, reference: str, said: str) -> None:
        told = refusal(toml(options__S=f'type = "string"\ndefault = {reference}'))
        assert "options.S.default" in told
        assert said in told


class TestFiles:
    """Values that the file keeps in other files beside it."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        (tmp_path / "text.txt").write_text("héllo", "utf-8")
        (tmp_path / "blob.bin").write_bytes(b"\xff\x00")
        (tmp_path / "cyrillic.txt").write_bytes("да".encode("windows-1251"))
        return tmp_path

    def test_are_read(self, folder: Path) -> None:
        agent = agent_files.parse(
            agent_with("readme", '{ type = "file", path = "text.txt" }')
            + """
            [options.S]
            type = "string"
            default = { type = "file", path = "text.txt" }
            [options.E]
            type = "string"
            default = { type = "file", path = "cyrillic.txt", encoding = "windows-1251" }
            [options.Q]
            type = "string"
            default = { type = "file", path = "text.txt", base64 = true }
            [options.U]
            type = "string"
            default = { type = "file", path = "cyrillic.txt" }
            [options.B]
            type = "list[blob]"
            default = [{ type = "file", path = "blob.bin" }, "AA=="]
            """,
            folder,
        )
        assert agent.info.readme == "héllo"
        assert agent.options["S"].default == "héllo"
        assert agent.options["E"].default == "да"
        assert agent.options["U"].default == "\ufffd\ufffd", "as in Coral: bytes that are not of the encoding"
        assert agent.options["Q"].default == base64.b64encode("héllo".encode()).decode()
        assert agent.options["B"].default == [b"\xff\x00", b"\x00"]

    @pytest.mark.parametrize("path", ['"nothing.txt"', '"../secret"', '"/etc/passwd"', "1", '"."', '"a\\u0000b"'])
    def test_that_cannot_be_read_are_named(self, folder: Path, path: str) -> None:
        message = refusal(toml(options__S=f'type = "string"\ndefault = {{ type = "file", path = {path} }}'), folder)
        assert "options.S.default" in message

    def test_of_a_text_without_a_folder_are_refused(self) -> None:
        message = refusal(toml(options__S='type = "string"\ndefault = { type = "file", path = "/etc/passwd" }'))
        assert "there is no folder" in message

    def test_that_are_too_large_are_refused(self, folder: Path) -> None:
        (folder / "large").write_bytes(b"x" * 380_001)
        with pytest.raises(TooLarge, match="380000"):
            agent_files.parse(toml(options__S='type = "string"\ndefault = { type = "file", path = "large" }'), folder)


def test_a_file_has_at_most_256_kib() -> None:
    padding = agent_files.MAX_FILE_BYTES - len(toml().encode()) - 2
    agent_files.parse(f"{toml()}\n#{'é' * (padding // 2)}{'x' * (padding % 2)}")
    with pytest.raises(TooLarge, match=f"has {agent_files.MAX_FILE_BYTES + 1} bytes: at most 262144"):
        agent_files.parse(f"{toml()}\n#{'é' * (padding // 2)}{'x' * (padding % 2)}x")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{'.'.join('a' * 4_000)} = 1", "line 1 is nested deeper than 32 levels"),
        ("\n".join(f"a{number} = 1" for number in range(10_001)), "it has more than 10000 keys"),
    ],
    ids=["deep", "wide"],
)
def test_what_would_take_gigabytes_is_refused_before_it_is_parsed(text: str, why: str) -> None:
    with tracing() as peak_bytes:
        assert refusal(text) == f"coral-agent.toml is not TOML: {why}"
        assert agent_files.referred_files(text, Path()) == []
    assert peak_bytes() < 10_000_000
