"""What Coral's API is, as far as answers can be checked, and whether an answer is as it says.

`coral.json` beside this file is Atoll's own statement of it: for each operation its statuses and the shapes of its
bodies, for each shape the paths of its fields and their kinds. It is written by ``python -m tests.contract.coral``
where Coral's OpenAPI document lies beside the repository; there each answer is validated against that document's JSON
schemas besides. That document is older than the server: `coral_1_2.json` states, part by part, what Coral Server 1.2
has changed since, and the shapes that answers are compared with have both.
"""

import functools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from tests.client import Answer
from tests.contract.shapes import Document, Fields, flat, name_of

FACTS = Path(__file__).parent / "coral.json"
NEWER = FACTS.with_name("coral_1_2.json")
#: Coral's document lies beside the repository, where it is there at all.
DOCUMENT = Path(__file__).resolve().parents[3] / "shared" / "coral" / "api_v1.json"

#: Statuses with which the contract answers beyond the document, on any path, with the same error body.
BEYOND = {400, 401, 403, 404, 409, 413, 415, 501, 503}
ERROR = "RouteException"

#: The keys that discriminate the variants of a union; `flat` names a variant by their value.
_DISCRIMINATORS = {"type", "mode", "state", "format", "op"}
_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "no fields": (dict,),
}

Operation = tuple[str, str]


def stated(document: Document) -> dict[str, Any]:
    """Return what `coral.json` says of a document."""
    shapes: dict[str, Fields] = {}

    def shape(content: dict[str, Any]) -> str | None:
        schema = content.get("content", {}).get("application/json", {}).get("schema")
        if schema is None:
            return None
        shapes[name_of(schema)] = flat(schema, document)
        return name_of(schema)

    operations = {
        f"{method.upper()} {path}": {
            "request": shape(described.get("requestBody", {})),
            "answers": {status: shape(answer) for status, answer in described["responses"].items()},
        }
        for path, methods in document["paths"].items()
        for method, described in methods.items()
    }
    return {"operations": operations, "shapes": dict(sorted(shapes.items()))}


def _newer(shapes: dict[str, Fields]) -> dict[str, Fields]:
    """Return shapes of the document as Coral Server 1.2 has them, and those that it does not have.

    A part of `coral_1_2.json` says ``at`` which place of which shape it is, the ``fields`` that it has there, and which
    of the document's are ``gone``; ``{a, b}`` in a field stands for one of each, and ``gone`` for all that begins so.
    Shapes that it ``includes`` are named behind where they are. A part that ``replaces`` the document's is one that its
    schemas would refuse. One without ``at`` is a shape of its own, which no operation takes or answers.
    """
    found = {shape: dict(fields) for shape, fields in shapes.items()}
    for name, part in json.loads(NEWER.read_text()).items():
        fields = {each: kind for field, kind in part["fields"].items() for each in _each_variant(field)}
        for place, included in part.get("includes", {}).items():
            fields |= {each + field: kind for each in _each_variant(place) for field, kind in found[included].items()}
        for shape, at in part.get("at", {name: ""}).items():
            gone = tuple(at + each for field in part.get("gone", ()) for each in _each_variant(field))
            kept = {field: kind for field, kind in found.get(shape, {}).items() if not field.startswith(gone)}
            found[shape] = kept | {at + field: kind for field, kind in fields.items()}
    return found


def _each_variant(field: str) -> list[str]:
    union = re.search(r"{([^}]*, [^}]*)}", field)
    if union is None:
        return [field]
    return [f"{field[: union.start()]}{{{one}}}{field[union.end() :]}" for one in union[1].split(", ")]


class Coral:
    """Coral's API as it is stated, and its document where that is at hand."""

    def __init__(self) -> None:
        facts = json.loads(FACTS.read_text())
        self.shapes: dict[str, Fields] = _newer(facts["shapes"])
        self.operations: dict[Operation, dict[str, Any]] = {
            (name.split()[0], name.split()[1]): operation for name, operation in facts["operations"].items()
        }
        #: Shapes that lack what the older document asks for: its schemas say nothing of them any more.
        newer = json.loads(NEWER.read_text()).values()
        self.changed = {shape for part in newer if part.get("replaces") for shape in part["at"]}
        self.document: Document | None = json.loads(DOCUMENT.read_text()) if DOCUMENT.exists() else None

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
        """Fail unless an answer is one that Coral's API or the contract allows; return which operation it was."""
        operation = self.operation(method, path)
        answers, status = self.operations[operation]["answers"], str(answer.status)
        if status not in answers:
            assert answer.status in {200, *BEYOND}, answer
        shape = answers.get(status, None if answer.status == 200 else ERROR)
        if shape is None:
            assert answer.body is None, f"{method} {path}: a body that Coral does not have: {answer.body}"
            return operation
        assert answer.headers["Content-Type"] == "application/json"
        faults = list(self.faults(shape, answer.body))
        assert not faults, "\n".join(faults)
        if self.document is not None and shape not in self.changed:
            described = self.document["paths"][operation[1]][method.lower()]["responses"].get(status, {})
            schema = described.get("content", {}).get("application/json", {}).get("schema", self.schema(ERROR))
            self.validate(schema, answer.body)
        return operation

    def faults(self, shape: str, value: Any) -> Iterator[str]:
        """Yield the fields of a value that a shape does not have, and those of another kind."""
        fields = self._patterns(shape)
        for path, leaf in _leaves(value):
            fitting = [kind for pattern, kind in fields if pattern.fullmatch(path)]
            if not fitting:
                yield f"{shape} has no field {path}"
            elif leaf is not None and not any(_is(leaf, kind) for kind in fitting):
                yield f"{shape}: {path} is to be {' or '.join(fitting)}, not {leaf!r}"

    @functools.cache  # noqa: B019 - as many as there are shapes
    def _patterns(self, shape: str) -> list[tuple[re.Pattern[str], str]]:
        found = []
        for field, kind in self.shapes[shape].items():
            found.append((_pattern(_without_variants(field)), kind))
            for union in re.finditer(r"{([^}]*)}", field):
                at = _without_variants(field[: union.start()])
                found += [(_pattern(f"{at}.{key}" if at else key), f"`{union[1]}`") for key in _DISCRIMINATORS]
        return found

    def validate(self, schema: dict[str, Any], value: Any) -> None:
        """Fail unless a value is as a schema of Coral's document says."""
        faults = [
            f"{'/'.join(map(str, fault.absolute_path))}: {fault.message[:300]}"
            for fault in self._validator(json.dumps(schema)).iter_errors(value)
        ]
        assert not faults, "\n".join(faults)

    @functools.cache  # noqa: B019 - as many as there are schemas
    def _validator(self, schema: str) -> Draft202012Validator:
        assert self.document is not None
        return Draft202012Validator({**json.loads(schema), "components": self.document["components"]})

    def schema(self, name: str) -> dict[str, Any]:
        """Return a schema by its name."""
        return {"$ref": f"#/components/schemas/{name}"}


def _leaves(value: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each field of a value that has no fields itself, by a path such as ``agents[].name``."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{at}.{key}" if at else key)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, f"{at}[]")
    elif value != {}:
        yield at, value


def _without_variants(field: str) -> str:
    return re.sub(r"{[^}]*}", "", field).lstrip(".")


def _pattern(field: str) -> re.Pattern[str]:
    return re.compile(re.escape(field).replace(r"\*", ".+"))


def _is(leaf: Any, kind: str) -> bool:
    if kind in ("any", ""):
        return True
    for one in kind.split(" or "):
        if leaf == one.strip("`"):
            return True
        kinds = _KINDS.get(one.split(" ")[0] if one != "no fields" else one)
        if kinds and isinstance(leaf, kinds) and (bool in kinds or not isinstance(leaf, bool)):
            return True
    return False


if __name__ == "__main__":
    FACTS.write_text(json.dumps(stated(json.loads(DOCUMENT.read_text())), indent=1, ensure_ascii=False) + "\n")
