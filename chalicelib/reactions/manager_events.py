"""Pushes the manager's events, sessions and namespaces that come and go, to those who follow them."""

import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from chalicelib.aws.errors import is_aws_error
from chalicelib.domain import following

if TYPE_CHECKING:
    from chalicelib.services import Services

logger = logging.getLogger(__name__)


def push(services: "Services", event: Mapping[str, Any], namespace_state: Mapping[str, Any]) -> None:
    """Push an event of a namespace to the followers who want it.

    A session does not wait for those who look on: what cannot be pushed is logged and left.
    """
    try:
        wanted = [
            connection_id
            for connection_id, wanted in services.followers.of_topic("manager")
            if following.wants(wanted, namespace_state)
        ]
        if not wanted:
            return
        frame = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
        for connection_id in services.connections.push({connection_id: [frame] for connection_id in wanted}):
            services.followers.remove("manager", connection_id)
    except Exception as error:
        if not is_aws_error(error):
            raise
        logger.warning("an event was not pushed", extra={"error": type(error).__name__})
