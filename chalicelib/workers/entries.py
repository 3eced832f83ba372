"""The Lambda behind the stream of session items: entries, followers, ends, functions that stopped, budgets' notices."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from chalice.app import Blueprint

from chalicelib.reactions import entries as reactions
from chalicelib.services import current
from chalicelib.store import changes
from chalicelib.workers import streams

lambdas = Blueprint(__name__)


@lambdas.lambda_function(name="on_entry")
def on_entry(event: dict[str, Any], context: Any) -> Any:
    """React to entries, followers that come or go, functions that stopped, notices; return ``{"batchItemFailures"}``.

    Entries of one session that follow each other are one group, which is pushed at once.
    """
    groups = (list(group) for _, group in groupby(event["Records"], key=_group))
    return streams.react(groups, _react, context, in_order=True)


def _group(record: streams.Record) -> tuple[str, str]:
    """Return what a record is grouped by: its session and, for what is no entry, its own key."""
    keys = record["dynamodb"]["Keys"]
    return keys["sessionId"]["S"], "" if changes.is_entry(record) else keys["item"]["S"]


def _react(records: Sequence[streams.Record]) -> None:
    services = current()
    session_id = records[0]["dynamodb"]["Keys"]["sessionId"]["S"]
    if changes.is_entry(records[0]):
        reactions.to_entries(services, session_id, map(changes.entry_of, records))
        return
    if changes.is_of_turns(records[0]):
        reactions.to_stopped(services, session_id)
        return
    if changes.is_end(records[0]):
        reactions.to_end(services, session_id)
        return
    if changes.is_notice(records[0]):
        from chalicelib.reactions import budgets  # few sessions have any: no cold start is longer for them

        budgets.to_notice(services, changes.notice_of(records[0]))
        return
    for record in records:
        connection_id, follows = changes.follower_change(record)
        if follows:
            reactions.to_follower(services, session_id, connection_id)
        else:
            reactions.to_follower_gone(services, connection_id)
