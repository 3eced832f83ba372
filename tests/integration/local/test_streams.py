"""Table streams, as on_change sees them."""

import dataclasses
import threading
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.integration.local.conftest import StandIns, eventually

SESSIONS = "atoll-local-sessions"


class Seen:
    """An on_change that writes down the sessions of the records it gets."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def __call__(self, event: dict[str, Any], context: Any) -> dict[str, Any]:
        self.records += event["Records"]
        return {}

    @property
    def sessions(self) -> list[str]:
        return [record["dynamodb"]["Keys"]["sessionId"]["S"] for record in self.records]


def test_records_come_in_the_order_of_the_writes_and_in_lambdas_shape(stand_ins: StandIns) -> None:
    seen = Seen()
    stand_ins.on("on_change", seen)

    stand_ins.put_session("a", status="executed")
    stand_ins.put_session("a", status="closing")
    stand_ins.client("dynamodb").delete_item(TableName=SESSIONS, Key={"namespace": {"S": "n"}, "sessionId": {"S": "a"}})

    eventually(lambda: len(seen.records) == 3)
    assert [record["eventName"] for record in seen.records] == ["INSERT", "MODIFY", "REMOVE"]
    modified = seen.records[1]
    assert modified["dynamodb"]["OldImage"]["status"] == {"S": "executed"}
    assert modified["dynamodb"]["NewImage"]["status"] == {"S": "closing"}
    assert modified["eventSource"] == "aws:dynamodb"
    assert modified["eventSourceARN"].split("/")[1:3] == [SESSIONS, "stream"]
    numbers = [int(record["dynamodb"]["SequenceNumber"]) for record in seen.records]
    assert numbers == sorted(set(numbers))


def test_concurrent_writers_lose_nothing(stand_ins: StandIns) -> None:
    seen = Seen()
    stand_ins.on("on_change", seen)
    names = [[f"{writer}-{number}" for number in range(20)] for writer in range(8)]

    def write(own: list[str]) -> None:
        for name in own:
            stand_ins.put_session(name)

    threads = [threading.Thread(target=write, args=(own,)) for own in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    eventually(lambda: len(seen.records) == 160)
    for own in names:
        assert [name for name in seen.sessions if name in own] == own


def test_only_one_of_many_wins_a_conditional_write(stand_ins: StandIns) -> None:
    won: list[int] = []
    lost: list[int] = []

    def write(number: int) -> None:
        client = stand_ins.client("dynamodb")
        try:
            client.put_item(
                TableName=SESSIONS,
                Item={"namespace": {"S": "n"}, "sessionId": {"S": "one"}, "winner": {"N": str(number)}},
                ConditionExpression="attribute_not_exists(sessionId)",
            )
            won.append(number)
        except client.exceptions.ConditionalCheckFailedException:
            lost.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (len(won), len(lost)) == (1, 15)


def test_a_write_that_changes_nothing_or_is_refused_makes_no_record(stand_ins: StandIns) -> None:
    seen = Seen()
    stand_ins.on("on_change", seen)
    stand_ins.put_session("a", status="executed")
    stand_ins.put_session("a", status="executed")
    with pytest.raises(ClientError):
        stand_ins.client("dynamodb").transact_write_items(
            TransactItems=[
                {"Put": {"TableName": SESSIONS, "Item": {"namespace": {"S": "n"}, "sessionId": {"S": "b"}}}},
                {
                    "Put": {
                        "TableName": SESSIONS,
                        "Item": {"namespace": {"S": "n"}, "sessionId": {"S": "a"}},
                        "ConditionExpression": "attribute_not_exists(sessionId)",
                    }
                },
            ]
        )

    stand_ins.put_session("last")

    eventually(lambda: "last" in seen.sessions)
    assert seen.sessions == ["a", "last"]


def test_a_failed_batch_is_tried_again_before_anything_else(stand_ins: StandIns) -> None:
    seen = Seen()
    failures = iter([ValueError("no"), ValueError("no"), ValueError("no")])

    def fail_at_first(event: dict[str, Any], context: Any) -> dict[str, Any]:
        for failure in failures:
            raise failure
        return seen(event, context)

    stand_ins.on("on_change", fail_at_first)
    for name in "abc":
        stand_ins.put_session(name)

    eventually(lambda: len(seen.records) == 3)
    assert seen.sessions == ["a", "b", "c"]


def test_a_batch_goes_on_from_its_first_failed_record(stand_ins: StandIns) -> None:
    entered, gate = threading.Event(), threading.Event()
    calls: list[list[str]] = []

    def fail_at_b_once(event: dict[str, Any], context: Any) -> dict[str, Any]:
        entered.set()
        gate.wait(10)
        names = {r["dynamodb"]["Keys"]["sessionId"]["S"]: r["dynamodb"]["SequenceNumber"] for r in event["Records"]}
        calls.append(list(names))
        first = sum("b" in call for call in calls) == 1
        return {"batchItemFailures": [{"itemIdentifier": names["b"]}] if "b" in names and first else []}

    stand_ins.on("on_change", fail_at_b_once)
    stand_ins.put_session("before")
    assert entered.wait(10)
    for name in "abc":
        stand_ins.put_session(name)
    gate.set()

    eventually(lambda: len(calls) == 3)
    assert calls == [["before"], ["a", "b", "c"], ["b", "c"]]


def test_a_poisonous_record_ends_in_the_dead_letters_and_the_rest_arrives(
    stand_ins: StandIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.local.dynamodb.streams.LONGEST_PAUSE_S", 0.01)
    for pump in stand_ins.stack.pumps[SESSIONS]:
        pump.mapping = dataclasses.replace(pump.mapping, longest_age_s=0.2)
    seen = Seen()

    def choke_on_poison(event: dict[str, Any], context: Any) -> dict[str, Any]:
        assert all(r["dynamodb"]["Keys"]["sessionId"]["S"] != "poison" for r in event["Records"])
        return seen(event, context)

    stand_ins.on("on_change", choke_on_poison)
    for name in ("a", "b", "poison", "c", "d"):
        stand_ins.put_session(name)

    eventually(lambda: len(seen.records) >= 4)
    assert seen.sessions == ["a", "b", "c", "d"]
    queue = stand_ins.client("sqs")
    url = queue.get_queue_url(QueueName="atoll-local-dead-letters")["QueueUrl"]
    messages = eventually(lambda: queue.receive_message(QueueUrl=url).get("Messages"))
    assert '"batchSize": 1' in messages[0]["Body"]


def test_tables_keep_no_records_of_their_streams(stand_ins: StandIns) -> None:
    from moto.dynamodb.models import dynamodb_backends

    for number in range(50):
        stand_ins.put_session(str(number))

    shard = dynamodb_backends["123456789012"]["us-east-1"].tables[SESSIONS].stream_shard
    assert shard is not None
    assert shard.items == []


def test_what_has_expired_is_deleted_by_the_ttl_service(stand_ins: StandIns) -> None:
    seen = Seen()
    stand_ins.on("on_change", seen)
    table = stand_ins.client("dynamodb")
    for name, expires_at in (("old", "1"), ("new", "99999999999")):
        item = {"namespace": {"S": "n"}, "sessionId": {"S": name}, "expiresAt": {"N": expires_at}}
        table.put_item(TableName=SESSIONS, Item=item)

    stand_ins.stack.tidy()

    eventually(lambda: len(seen.records) == 3)
    assert seen.records[-1]["eventName"] == "REMOVE"
    assert seen.records[-1]["userIdentity"]["principalId"] == "dynamodb.amazonaws.com"
    assert [item["sessionId"]["S"] for item in table.scan(TableName=SESSIONS)["Items"]] == ["new"]


def test_an_item_of_all_types_comes_back_as_it_was(stand_ins: StandIns) -> None:
    table = stand_ins.client("dynamodb")
    key = {"namespace": {"S": "n"}, "sessionId": {"S": "s"}}
    item = key | {
        "text": {"S": 'ä"\n'},
        "number": {"N": "1.5"},
        "bytes": {"B": b"\x00\xff"},
        "flag": {"BOOL": False},
        "nothing": {"NULL": True},
        "list": {"L": [{"M": {"deep": {"B": b"\x01"}}}, {"S": ""}]},
        "names": {"SS": ["a", "b"]},
        "blobs": {"BS": [b"\x02"]},
    }
    seen = Seen()
    stand_ins.on("on_change", seen)
    table.put_item(TableName=SESSIONS, Item=item)

    assert table.get_item(TableName=SESSIONS, Key=key, ConsistentRead=True)["Item"] == item
    assert table.scan(TableName=SESSIONS)["Items"] == [item]
    changed = table.update_item(
        TableName=SESSIONS,
        Key=key,
        UpdateExpression="SET flag = :yes",
        ExpressionAttributeValues={":yes": {"BOOL": True}},
        ReturnValues="ALL_NEW",
    )
    assert changed["Attributes"] == item | {"flag": {"BOOL": True}}
    # In an event, bytes are base64.
    eventually(lambda: seen.records)
    assert seen.records[0]["dynamodb"]["NewImage"]["bytes"] == {"B": "AP8="}
    assert seen.records[0]["dynamodb"]["NewImage"]["list"]["L"][0] == {"M": {"deep": {"B": "AQ=="}}}


def test_a_query_reads_its_range_in_order_and_in_pages(stand_ins: StandIns) -> None:
    table = stand_ins.client("dynamodb")
    for session in ("s", "other"):
        for number in range(30):
            key = {"sessionId": {"S": session}, "item": {"S": f"EVENT#{number:03}"}}
            table.put_item(TableName="atoll-local-session-items", Item=key)

    def query(condition: str, **values: str) -> list[str]:
        pages = table.get_paginator("query").paginate(
            TableName="atoll-local-session-items",
            KeyConditionExpression=f"sessionId = :s AND {condition}",
            ExpressionAttributeNames={"#i": "item"},
            ExpressionAttributeValues={":s": {"S": "s"}} | {f":{name}": {"S": value} for name, value in values.items()},
            PaginationConfig={"PageSize": 4},
        )
        return [item["item"]["S"][-3:] for page in pages for item in page["Items"]]

    assert query("begins_with(#i, :p)", p="EVENT#01") == [f"01{digit}" for digit in range(10)]
    assert query("#i > :low", low="EVENT#026") == ["027", "028", "029"]
    assert query("#i BETWEEN :low AND :high", low="EVENT#003", high="EVENT#005") == ["003", "004", "005"]
    assert query("#i = :one", one="EVENT#007") == ["007"]
