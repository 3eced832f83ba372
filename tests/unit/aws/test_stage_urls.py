"""The stage's URLs for agents: read at run time, cached for a minute, measured without being read."""

import json
from collections.abc import Iterator
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from chalicelib.aws.stage_urls import MAX_AGE_MS, StageUrls
from chalicelib.settings import LONGEST_URL, LONGEST_URLS, Settings, Urls
from tests.mcp_world import TestClock

STAGE = Settings(stage="test")


@pytest.fixture
def ssm() -> Iterator[Any]:
    with mock_aws():
        yield boto3.client("ssm", "us-east-1")


def put(ssm: Any, **urls: str) -> None:
    ssm.put_parameter(Name="/atoll/test/urls", Value=json.dumps(urls), Type="String", Overwrite=True)


def test_they_are_read_again_when_they_are_a_minute_old(ssm: Any) -> None:
    clock = TestClock()
    urls = StageUrls(ssm, STAGE, clock)
    put(ssm, api="https://api/test", mcp="https://first/", models="https://models/")
    assert urls.get() == Urls("https://api/test", "https://first", models="https://models")
    put(ssm, api="https://api/test", mcp="https://second/")
    clock.pass_ms(MAX_AGE_MS - 1)
    assert urls.get().mcp == "https://first"
    clock.pass_ms(1)
    assert urls.get().mcp == "https://second"


def test_an_unfinished_stage_has_none(ssm: Any) -> None:
    with pytest.raises(ClientError, match="ParameterNotFound"):
        StageUrls(ssm, STAGE, TestClock()).get()


@pytest.mark.parametrize(("mcp_url", "expected"), [("", "https://set"), ("https://other", "https://other")])
def test_what_is_set_is_not_read(mcp_url: str, expected: str) -> None:
    settings = Settings(stage="test", api_url="https://set", mcp_url=mcp_url)
    there = Urls("https://set", expected, models=expected)
    # There is no client that could be asked.
    assert StageUrls(None, settings, TestClock()).get() == there  # type: ignore[arg-type]
    assert settings.urls == there


def test_no_url_of_any_region_is_longer_than_what_is_counted() -> None:
    partitions = botocore.session.get_session().get_data("endpoints")["partitions"]
    places = [(region, each["dnsSuffix"]) for each in partitions for region in each["regions"]]
    stage = "s" * 16
    apis = [f"https://{'i' * 10}.execute-api.{region}.{suffix}/{stage}" for region, suffix in places]
    functions = [f"https://{'i' * 32}.lambda-url.{region}.on.aws" for region, _ in places]
    assert 60 < max(map(len, apis + functions)) <= LONGEST_URL
    assert STAGE.urls is None
    assert {len(url) for url in LONGEST_URLS if url} == {LONGEST_URL}
    assert all((LONGEST_URLS.api, LONGEST_URLS.mcp, LONGEST_URLS.models))
