"""Keeps out of memory what moto and botocore load and nothing here uses: nearly half of it, and 0.6 s of the start.

That is every type of EC2's machines with the places where it is offered, which ECS brings along, and the descriptions
of services, of which each reader of a process keeps a copy of its own. This is to be imported before moto's ECS.
"""

import functools
from typing import Any
from unittest.mock import patch

import boto3
from botocore.loaders import JSONFileLoader
from moto.utilities import utils

_UNUSED = ("ec2/resources/instance_types", "ec2/resources/instance_type_offerings/")

_load_resource = utils.load_resource
_load_file = JSONFileLoader.load_file


def _resource(path: str, *rest: Any) -> Any:
    return {} if path.startswith(_UNUSED) else _load_resource(path, *rest)


def _regions(_: Any, __: str, partition_name: str = "aws", **___: Any) -> list[str]:
    return ["us-east-1"] if partition_name == "aws" else []


@functools.cache
def _file(path: str) -> Any:
    return _load_file(JSONFileLoader(), path)


JSONFileLoader.load_file = lambda _, path: _file(path)  # type: ignore[method-assign, assignment]

with patch.object(utils, "load_resource", _resource), patch.object(boto3.Session, "get_available_regions", _regions):
    import moto.ec2  # noqa: F401
