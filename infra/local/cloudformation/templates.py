"""Reads CloudFormation: resolves the functions of a template and makes its resources, each after those it refers to."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


class TemplateError(Exception):
    """A template says something that this reader does not understand; the message names it."""


# libyaml's loader takes a tenth of the time; not every build of PyYAML has it.
_Base: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[valid-type, misc]  # which of both it is, a build of PyYAML says
    """YAML with CloudFormation's short forms: ``!Sub x`` is ``{"Fn::Sub": x}``."""


def _short_form(loader: yaml.SafeLoader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.MappingNode)
        value = loader.construct_mapping(node, deep=True)
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _short_form)


def load(path: Path) -> dict[str, Any]:
    """Read a template from YAML."""
    return dict(yaml.load(path.read_text(), Loader=_Loader))


@dataclass
class Resource:
    """A resource that was made: the values of ``!Ref`` and ``!GetAtt``."""

    ref: str
    attributes: dict[str, str] = field(default_factory=dict)


#: Makes one resource of a type from its name in the template and its resolved properties.
Maker = Callable[[str, dict[str, Any]], Resource]


class Stack:
    """One template, made."""

    def __init__(
        self,
        template: Mapping[str, Any],
        *,
        parameters: Mapping[str, str],
        imports: Mapping[str, str],
        maker: Callable[[str], Maker],
    ) -> None:
        self._template = template
        self._imports = imports
        self._maker = maker
        self._made: dict[str, Resource] = {}
        self._making: list[str] = []
        self._parameters = dict(parameters)
        for name, parameter in template.get("Parameters", {}).items():
            if name not in self._parameters and "Default" in parameter:
                self._parameters[name] = str(parameter["Default"])

    def make(self) -> None:
        """Make every resource whose condition holds."""
        for name, resource in self._template["Resources"].items():
            if "Condition" not in resource or self._holds(resource["Condition"]):
                self.resource(name)

    def resource(self, name: str) -> Resource:
        """Return a resource, made now unless it was before; raise `TemplateError` for a cycle or an unknown name."""
        if name in self._made:
            return self._made[name]
        if name in self._making:
            raise TemplateError(f"resources refer to each other: {' -> '.join([*self._making, name])}")
        if name not in self._template["Resources"]:
            raise TemplateError(f"no resource {name!r} in the template")
        body = self._template["Resources"][name]
        self._making.append(name)
        properties = self.resolve(body.get("Properties", {}))
        self._made[name] = self._maker(body["Type"])(name, properties)
        self._making.pop()
        return self._made[name]

    def outputs(self) -> Iterator[tuple[str, str, str | None]]:
        """Yield name, value and export name of each output."""
        for name, output in self._template.get("Outputs", {}).items():
            if "Condition" in output and not self._holds(output["Condition"]):
                continue
            export = output.get("Export", {}).get("Name")
            yield name, self.resolve(output["Value"]), self.resolve(export) if export else None

    def resolve(self, value: Any) -> Any:
        """Replace the functions in a value by their results."""
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(name, argument)] = value.items()
            if name == "Ref":
                return self._ref(argument)
            if name.startswith("Fn::"):
                return self._call(name.removeprefix("Fn::"), argument)
        resolved = {key: self.resolve(item) for key, item in value.items()}
        return {key: item for key, item in resolved.items() if item is not _NO_VALUE}

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in self._parameters:
            return self._parameters[name]
        return self.resource(name).ref

    def _get_att(self, name: str, attribute: str) -> str:
        attributes = self.resource(name).attributes
        if attribute not in attributes:
            raise TemplateError(f"{name} has no attribute {attribute!r}")
        return attributes[attribute]

    def _call(self, function: str, argument: Any) -> Any:
        functions: dict[str, Callable[[Any], Any]] = {
            "GetAtt": lambda pair: self._get_att(*pair),
            "Sub": self._sub,
            "Join": lambda pair: pair[0].join(self.resolve(pair[1])),
            "Select": lambda pair: self.resolve(pair[1])[int(self.resolve(pair[0]))],
            "Split": lambda pair: self.resolve(pair[1]).split(pair[0]),
            "If": lambda choice: self.resolve(choice[1] if self._holds(choice[0]) else choice[2]),
            "ImportValue": self._import,
        }
        if function not in functions:
            raise TemplateError(f"this reader knows no Fn::{function}")
        return functions[function](argument)

    def _import(self, argument: Any) -> str:
        name = self.resolve(argument)
        if name not in self._imports:
            raise TemplateError(f"no stack exports {name!r}")
        return self._imports[name]

    def _sub(self, argument: Any) -> str:
        text, values = argument if isinstance(argument, list) else (argument, {})

        def value(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return "${" + name[1:] + "}"
            if name in values:
                return str(self.resolve(values[name]))
            if "." in name:
                return self._get_att(*name.split(".", 1))
            return str(self._ref(name))

        return re.sub(r"\$\{([^}]+)\}", value, text)

    def _holds(self, condition: Any) -> bool:
        if isinstance(condition, str):
            return self._holds(self._template["Conditions"][condition])
        [(name, argument)] = condition.items()
        if name == "Condition":
            return self._holds(argument)
        if name == "Fn::Equals":
            left, right = argument
            return bool(self.resolve(left) == self.resolve(right))
        if name == "Fn::Not":
            return not self._holds(argument[0])
        if name == "Fn::And":
            return all(map(self._holds, argument))
        if name == "Fn::Or":
            return any(map(self._holds, argument))
        raise TemplateError(f"this reader knows no condition {name}")


class _NoValue:
    """``AWS::NoValue``: the property is as good as not there."""


_NO_VALUE = _NoValue()
