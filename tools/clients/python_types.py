"""From JSON schemas to Python annotations."""

import keyword
import textwrap
from typing import Any, Final, cast

Schema = dict[str, Any]

_SCALARS: Final = {
    "string": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "null": "None",
}


def annotation(schema: Schema, prefix: str = "") -> str:
    """The annotation of a schema; `prefix` comes before the names of components."""
    if "$ref" in schema:
        return prefix + str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return f"Literal[{schema['const']!r}]"
    if "enum" in schema:
        return open_enumeration(schema)
    if "anyOf" in schema:
        return _union([annotation(one, prefix) for one in schema["anyOf"]])
    return _of_type(schema, prefix)


def _of_type(schema: Schema, prefix: str) -> str:
    match schema.get("type"):
        case None:
            return "Any"
        case list():
            names = cast("list[str]", schema["type"])
            return _union([annotation({**schema, "type": one}, prefix) for one in names])
        case "array":
            return f"list[{annotation(schema.get('items', {}), prefix)}]"
        case "object":
            values = schema.get("additionalProperties")
            if not isinstance(values, dict):
                return "dict[str, Any]"
            return f"dict[str, {annotation(cast('Schema', values), prefix)}]"
        case "string" if schema.get("format") == "date-time":
            return "datetime"
        case str() as name:
            return _SCALARS[name]
        case other:
            raise ValueError(f"no annotation for the type {other!r}")


def open_enumeration(schema: Schema) -> str:
    """The known values, and any other text: a newer server may know more."""
    return f"Literal[{', '.join(map(repr, schema['enum']))}] | str"


def optional(text: str) -> str:
    """An annotation that takes None, too."""
    return _union([text, "None"])


def attribute(name: str) -> str:
    """The name of a property in Python: `from_` for `from`."""
    return f"{name}_" if keyword.iskeyword(name) else name


def docstring(text: str, indent: str) -> str:
    """A docstring of one or more lines, with its indentation."""
    ended = text.strip() if text.strip()[-1] in ".:!?" else f"{text.strip()}."
    body = f" {ended}" if ended.startswith('"') else ended
    wrapped = [
        line
        for paragraph in body.replace("\\", "\\\\").split("\n")
        for line in textwrap.wrap(paragraph, 92 - len(indent)) or [""]
    ]
    first, *rest = wrapped
    lines = [f'{indent}"""{first}', *(f"{indent}{line}".rstrip() for line in rest)]
    return "\n".join(lines) + (f'\n{indent}"""' if rest else '"""')


def _union(parts: list[str]) -> str:
    members = dict.fromkeys(one for part in parts for one in _members(part))
    ordered = sorted(members, key=lambda one: one == "None")
    return "Any" if "Any" in members else " | ".join(ordered)


def _members(text: str) -> list[str]:
    """The members of a union that is no part of another type."""
    found: list[str] = []
    depth = start = 0
    for at, char in enumerate(text):
        depth += (char in "[(") - (char in "])")
        if depth == 0 and text.startswith(" | ", at):
            found.append(text[start:at])
            start = at + 3
    return [*found, text[start:]]
