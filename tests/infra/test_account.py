"""What the account says about where agents can run, and with whose credentials Chalice runs."""

from pathlib import Path
from typing import Any

import pytest
from boto3.session import Session

from infra.deploy import Failed, account, app
from infra.deploy.app import App
from infra.deploy.preflight import network


class Subnets:
    """A session whose subnets are in these zones: names and ids."""

    def __init__(self, region: str, *zones: tuple[str, str]) -> None:
        self.region_name = region
        self._zones = zones

    def client(self, _: str) -> Any:
        return self

    def describe_vpcs(self, **_: Any) -> Any:
        return {"Vpcs": [{"VpcId": "vpc-1"}]}

    def describe_subnets(self, **_: Any) -> Any:
        of_all = {"VpcId": "vpc-1", "MapPublicIpOnLaunch": True}
        zones = enumerate(self._zones)
        made = [
            {"SubnetId": f"subnet-{number:02}", "AvailabilityZone": name, "AvailabilityZoneId": zone, **of_all}
            for number, (name, zone) in zones
        ]
        return {"Subnets": made}


TOKYO = [("ap-northeast-1a", "apne1-az4"), ("ap-northeast-1b", "apne1-az3"), ("ap-northeast-1c", "apne1-az1")]
OREGON = [("us-west-2a", "usw2-az1"), ("us-west-2-lax-1a", "usw2-lax1-az1")]


@pytest.mark.parametrize(
    ("region", "zones", "taken"),
    [
        ("ap-northeast-1", TOKYO, ["subnet-00", "subnet-02"]),
        ("us-west-2", OREGON, ["subnet-00"]),
        ("us-east-1", [("us-east-1a", "use1-az1")] * 20, [f"subnet-{number:02}" for number in range(16)]),
    ],
)
def test_agents_run_in_zones_with_fargate_of_at_most_16_subnets(region: str, zones: Any, taken: list[str]) -> None:
    session: Any = Subnets(region, *zones)
    assert account._default_network(session) == ("vpc-1", tuple(taken))


@pytest.mark.parametrize("zones", [TOKYO, OREGON])
def test_a_named_subnet_without_fargate_is_refused(zones: Any) -> None:
    region = zones[0][0][:-1]
    [subnets] = Subnets(region, *zones).describe_subnets().values()
    found = network.judged_subnets([{**each, "AvailableIpAddressCount": 99} for each in subnets], region)
    assert [each.text for each in found if each.level == "problem"] == [
        "subnet-01 are in zones without Fargate: leave them out"
    ]


def test_a_stale_token_of_the_environment_does_not_mix_with_a_profile(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    session = Session("key of the profile", "secret", region_name="eu-west-1")
    session.get_credentials()
    monkeypatch.setenv("AWS_SESSION_TOKEN", "another token")
    monkeypatch.setenv("AWS_PROFILE", "another")
    (tmp_path / "chalice").mkdir()
    (tmp_path / "chalice/__init__.py").write_text("")
    (tmp_path / "chalice/cli.py").write_text("import os, sys\ndef main(): sys.exit(str(dict(os.environ)))\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(Failed) as failed:
        app.run_chalice("deploy", "dev", tmp_path, session, App())
    assert "key of the profile" in str(failed.value)
    assert "another token" not in str(failed.value)
    assert "AWS_PROFILE" not in str(failed.value)
