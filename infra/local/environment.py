"""The environment in which this process reaches moto and nothing else."""

import contextlib
import os
from collections.abc import Iterator
from unittest.mock import patch

STAGE = "local"
ACCOUNT = "123456789012"
REGION = "us-east-1"

_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "local",
    "AWS_SECRET_ACCESS_KEY": "local",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    # With account ids in host names moto does not recognize DynamoDB Streams.
    "AWS_ACCOUNT_ID_ENDPOINT_MODE": "disabled",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_XRAY_SDK_ENABLED": "false",
    "POWERTOOLS_TRACE_DISABLED": "true",
    "POWERTOOLS_METRICS_DISABLED": "true",
    "ATOLL_STAGE": STAGE,
}

#: What a person's own AWS environment must not change here.
_REMOVED = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ROLE_ARN")


@contextlib.contextmanager
def local_environment() -> Iterator[None]:
    """Set this process's environment for moto, and restore it."""
    with patch.dict(os.environ, _ENVIRONMENT):
        for name in _REMOVED:
            os.environ.pop(name, None)
        yield
