"""What AWS asks for in the name of a stage's functions, besides the calls that they make themselves."""

from collections.abc import Iterator

from infra.deploy import description
from infra.local.environment import ACCOUNT, REGION, STAGE
from tests.infra.iam import documents
from tests.permissions import Use

#: What Lambda's pollers ask for a function that a stream feeds, and a queue (its Developer Guide, "Process DynamoDB
#: records", "Using Lambda with Amazon SQS").
_OF_A_STREAM = ("dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator")
_OF_A_QUEUE = ("sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage")


def of_functions() -> Iterator[Use]:
    """Yield what Lambda does with functions' roles: it writes their logs, polls for them, and sends dead letters."""
    for function in description.functions():
        group = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/lambda/{description.function_name(STAGE, function)}"
        yield Use(function, "logs:CreateLogStream", f"{group}:log-stream:one")
        yield Use(function, "logs:PutLogEvents", f"{group}:log-stream:one")
    events = documents.events()
    for mapping in events.of_type("AWS::Lambda::EventSourceMapping").values():
        function, source = _function(mapping["FunctionName"]), mapping["EventSourceArn"]
        stream = ":dynamodb:" in source
        for action in _OF_A_STREAM if stream else _OF_A_QUEUE:
            yield Use(function, action, source)
        if stream:
            yield Use(function, "dynamodb:ListStreams", "*")
        yield from _dead_letters(function, mapping)
    for config in events.of_type("AWS::Lambda::EventInvokeConfig").values():
        yield from _dead_letters(_function(config["FunctionName"]), config)


def _dead_letters(function: str, properties: dict[str, dict[str, dict[str, str]]]) -> Iterator[Use]:
    if "DestinationConfig" in properties:
        yield Use(function, "sqs:SendMessage", properties["DestinationConfig"]["OnFailure"]["Destination"])


def _function(name: str) -> str:
    return name.removeprefix(f"atoll-{STAGE}-")
