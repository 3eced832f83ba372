"""Coral's own OpenAPI document, and whether an answer is as it says."""

import functools
import json
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.client import Answer

#: Coral's document lies beside the repository, where it is there at all.
PATH = Path(__file__).resolve().parents[3] / "shared" / "coral" / "api_v1.json"

#: Statuses with which the contract answers beyond the document, on any path, with the same error body.
BEYOND = {400, 401, 403, 404, 409, 413, 415, 501, 503}

Operation = tuple[str, str]


class Coral:
    """The document."""

    def __init__(self) -> None:
        self.document: dict[str, Any] = json.loads(PATH.read_text())
        self.operations: dict[Operation, dict[str, Any]] = {
            (method.upper(), path): operation
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
        }

    def operation(self, method: str, path: str) -> Operation:
        """Find the operation that a request is: a path without parameters goes first."""
        plain = path.split("?", maxsplit=1)[0]
        fitting = [
            (verb, template)
            for verb, template in self.operations
            if verb == method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), plain)
        ]
        return min(fitting, key=lambda operation: operation[1].count("{"))

    def check(self, method: str, path: str, answer: Answer) -> Operation:
        """Fail unless an answer is one that the document or the contract allows; return which operation it was."""
        operation = self.operation(method, path)
        described = self.operations[operation]["responses"].get(str(answer.status))
        if described is None:
            assert answer.status in {200, *BEYOND}, answer
            described = {} if answer.status == 200 else _ERROR
        content = described.get("content", {})
        if not content:
            assert answer.body is None, f"{method} {path}: a body that the document does not have: {answer.body}"
            return operation
        assert answer.headers["Content-Type"] == "application/json"
        self.validate(content["application/json"]["schema"], answer.body)
        return operation

    def validate(self, schema: dict[str, Any], value: Any) -> None:
        """Fail unless a value is as a schema of the document says."""
        faults = [
            f"{'/'.join(map(str, fault.absolute_path))}: {fault.message[:300]}"
            for fault in self._validator(json.dumps(schema)).iter_errors(value)
        ]
        assert not faults, "\n".join(faults)

    @functools.cache  # noqa: B019 - as many as there are schemas
    def _validator(self, schema: str) -> Draft202012Validator:
        return Draft202012Validator({**json.loads(schema), "components": self.document["components"]})

    def schema(self, name: str) -> dict[str, Any]:
        """Return a schema by its name."""
        return {"$ref": f"#/components/schemas/{name}"}


_ERROR = {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/RouteException"}}}}
