"""What holds for all tests."""

from typing import Any

from botocore import serialize

_create_serializer = serialize.create_serializer


def _create_checking_serializer(protocol_name: str, include_validation: bool = True, **rest: Any) -> Any:
    """Check the parameters of every AWS call against the service's model: the app leaves that to AWS, moto does not."""
    return _create_serializer(protocol_name, include_validation=True, **rest)


serialize.create_serializer = _create_checking_serializer
