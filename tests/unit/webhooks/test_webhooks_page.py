"""The receivers' code in docs/webhooks.md does what the page says."""

import json
import shutil
import subprocess
import time
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from standardwebhooks.webhooks import WebhookVerificationError

from chalicelib.reactions.signatures import WebhookSecrets, key_from, public_key_of, signed_headers
from chalicelib.wire.sessions import SessionEndReport
from tests.documents.blocks import blocks_of

PAGE = "docs/webhooks.md"
SAMPLES = [json.loads(block.text) for block in blocks_of(PAGE) if block.language == "json"]
BODY = '{"text":"naïve ☃"}'.encode()


def signed(**secrets: str) -> dict[str, str]:
    return signed_headers(WebhookSecrets.model_validate(secrets), "ns", "d1", int(time.time()), BODY)


def names_of_the_page() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for block in blocks_of(PAGE):
        if block.language == "python":
            exec(block.text, names)
    return names


def test_the_python_verifies() -> None:
    names = names_of_the_page()
    headers = signed(current="new", previous="old")
    for secret in ("new", "old"):
        assert names["report_of"](secret, headers, BODY) == json.loads(BODY)
    assert names["is_corals"]("new", headers, BODY)
    assert not names["is_corals"]("old", headers, BODY)
    assert not names["is_corals"]("new", {}, BODY)
    for secret, came in (("other", headers), ("new", {})):
        with pytest.raises(WebhookVerificationError):
            names["report_of"](secret, came, BODY)
    for malformed in ("v1", "v1,?"):
        with pytest.raises((WebhookVerificationError, ValueError)):
            names["report_of"]("new", {**headers, "webhook-signature": malformed}, BODY)


def test_the_python_verifies_by_a_public_key() -> None:
    names = names_of_the_page()
    new, old, other = (key_from(bytes([number]) * 32) for number in range(3))
    headers = signed(current="s", signingKey=new, previousSigningKey=old)
    for key in (new, old):
        assert names["report_by_key"](public_key_of(key), headers, BODY) == json.loads(BODY)
    for wrong in (
        {"webhook-id": "d2"},
        {"webhook-timestamp": "1"},
        {"webhook-timestamp": "²"},
        {"webhook-signature": "v1a,?"},
    ):
        with pytest.raises(InvalidSignature):
            names["report_by_key"](public_key_of(new), {**headers, **wrong}, BODY)
    with pytest.raises(InvalidSignature):
        names["report_by_key"](public_key_of(new), {}, BODY)
    with pytest.raises(InvalidSignature):
        names["report_by_key"](public_key_of(other), headers, BODY)


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node here")
@pytest.mark.parametrize(
    ("secret", "change", "expected"),
    [
        ("new", {}, "true"),
        ("old", {}, "true"),
        ("other", {}, "false"),
        ("new", {"webhook-id": "d2"}, "false"),
        ("new", {"webhook-timestamp": "1"}, "false"),
        ("new", {"webhook-timestamp": ""}, "false"),
        ("new", {"webhook-id": ""}, "false"),
        ("new", {"webhook-signature": ""}, "false"),
    ],
)
def test_the_javascript_verifies(secret: str, change: dict[str, str], expected: str) -> None:
    [code] = [block.text for block in blocks_of(PAGE) if block.language == "js"]
    headers = {name: value for name, value in {**signed(current="new", previous="old"), **change}.items() if value}
    call = (
        f"console.log(isAtolls({json.dumps(secret)}, {json.dumps(headers)}, Buffer.from({json.dumps(BODY.decode())})))"
    )
    done = subprocess.run(["node", "-e", code + call], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == expected


def test_the_sample_is_a_report_as_it_is_sent() -> None:
    [sample] = [each for each in SAMPLES if "agentStats" in each]
    report = SessionEndReport.model_validate(sample)
    assert report.model_dump(mode="json", by_alias=True, exclude_none=True) == sample
