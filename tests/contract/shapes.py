"""Shapes of an OpenAPI document as flat lists of fields: ``agents[].provider{local}.runtime`` and what it is."""

from typing import Any

Schema = dict[str, Any]
Document = dict[str, Any]
#: Kinds of fields by their paths.
Fields = dict[str, str]


def name_of(schema: Schema) -> str:
    """Return how a shape is called."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    if schema.get("type") == "array":
        return f"{name_of(schema['items'])}[]"
    return str(schema.get("title", schema.get("type")))


def flat(schema: Schema, document: Document) -> dict[str, str]:
    """List the fields of a schema: ``agents[].provider{local}.runtime`` and what it is."""
    found: dict[str, str] = {}
    _walk(schema, document, "", found, ())
    return found


def _walk(schema: Schema, document: Document, at: str, found: dict[str, str], inside: tuple[str, ...]) -> None:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        if name not in inside:
            _walk(document["components"]["schemas"][name], document, at, found, (*inside, name))
        return
    variants = [each for each in [*schema.get("anyOf", []), *schema.get("oneOf", [])] if each.get("type") != "null"]
    if len(variants) == 1:
        _walk(variants[0], document, at, found, inside)
    elif variants:
        _walk_variants(variants, schema, document, at, found, inside)
    elif "properties" in schema:
        for name, part in schema["properties"].items():
            _walk(part, document, f"{at}.{name}" if at else name, found, inside)
    elif isinstance(schema.get("additionalProperties"), dict):
        _walk(schema["additionalProperties"], document, f"{at}.*", found, inside)
    elif schema.get("type") == "array" and "items" in schema:
        _walk(schema["items"], document, f"{at}[]", found, inside)
    else:
        found[at] = _kind(schema)


def _walk_variants(
    variants: list[Schema], schema: Schema, document: Document, at: str, found: dict[str, str], inside: tuple[str, ...]
) -> None:
    """List the variants of a union, each under its name; variants without a name are listed as alternatives."""
    kinds: list[str] = []
    for variant in variants:
        name = variant.get("$ref", "").rsplit("/", 1)[-1]
        target = document["components"]["schemas"][name] if name else variant
        discriminator = _discriminated(target, schema)
        if discriminator is None:
            parts: dict[str, str] = {}
            _walk(target, document, "", parts, inside)
            kinds += [f"{kind} {field}".strip() for field, kind in parts.items()]
            continue
        parts = {}
        _walk(target, document, "", parts, inside)
        parts.pop(discriminator[0], None)
        label = f"{at}{{{discriminator[1]}}}"
        found.update({f"{label}.{field}": kind for field, kind in parts.items()} or {label: "no fields"})
    if kinds:
        found[at] = " or ".join(dict.fromkeys(kinds))


def _discriminated(variant: Schema, union: Schema) -> tuple[str, str] | None:
    """Return the field that discriminates a variant, and its value."""
    fields = variant.get("properties", {})
    wanted = union.get("discriminator", {}).get("propertyName")
    for field in [wanted] if wanted else ["type", "mode", "state", "format", "op"]:
        values = fields.get(field, {}).get("enum") or (
            [fields[field]["const"]] if "const" in fields.get(field, {}) else []
        )
        if len(values) == 1:
            return field, values[0]
    return None


def _kind(schema: Schema) -> str:
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"])
    return f"`{schema['const']}`" if "const" in schema else str(schema.get("type", "any"))
