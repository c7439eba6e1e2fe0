"""`models.py` of the Python client: a dataclass for each object of the document."""

from collections.abc import Mapping
from typing import Any, Final

from tools.clients.python_types import (
    Schema,
    annotation,
    attribute,
    docstring,
    open_enumeration,
    optional,
)

HEADER: Final = "# Written by `make clients` from /openapi.json. Do not edit.\n"

RUN_ARGUMENTS: Final = frozenset({"kind", "target", "inputs"})

_IMPORTS: Final = '''
"""What the API reads and answers. Times are `datetime` in UTC.

An enumeration may have other values than those named here: a newer server may know more.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias, TypedDict, Union

'''


def render_models(document: Mapping[str, Any]) -> str:
    """The text of `models.py`, not formatted yet."""
    schemas: dict[str, Schema] = document["components"]["schemas"]
    enums = {name: schema for name, schema in schemas.items() if "enum" in schema}
    aliases = [_alias(name, schema) for name, schema in sorted(enums.items())]
    classes = [_class(name, schemas[name]) for name in sorted(schemas.keys() - enums.keys())]
    options = _options(schemas["JobRequestBody"])
    return "\n\n".join([HEADER + _IMPORTS, *aliases, *classes, options]) + "\n"


def _options(schema: Schema) -> str:
    """The keyword arguments of `run`: those of an enqueue beside what it takes by position."""
    kinds = {name: annotation(facts) for name, facts in schema["properties"].items()}
    fields = [f"    {name}: {kind}" for name, kind in kinds.items() if name not in RUN_ARGUMENTS]
    text = docstring("Options of a job; `enqueue_job` describes them.", "    ")
    return "\n".join(["class JobOptions(TypedDict, total=False):", text, "", *fields])


def _alias(name: str, schema: Schema) -> str:
    literal = open_enumeration(schema).removesuffix(" | str")
    text = docstring(schema["description"], "") if "description" in schema else ""
    return f"{name}: TypeAlias = Union[{literal}, str]\n{text}"


def _class(name: str, schema: Schema) -> str:
    required = set(schema.get("required", ()))
    fields = schema.get("properties", {})
    ordered = sorted(fields, key=lambda one: one not in required)
    lines = [
        "@dataclass(frozen=True, kw_only=True)",
        f"class {name}:",
        docstring(schema.get("description") or f"{name}.", "    "),
        *(_field(one, fields[one], is_required=one in required) for one in ordered),
    ]
    return "\n".join(lines)


def _field(name: str, schema: Schema, *, is_required: bool) -> str:
    kind = annotation(schema)
    text = f"    {attribute(name)}: {kind if is_required else optional(kind)}"
    if attribute(name) != name:
        text += f" = field({'' if is_required else 'default=None, '}metadata={{'name': {name!r}}})"
    elif not is_required:
        text += " = None"
    if description := schema.get("description"):
        text += "\n" + docstring(description, "    ")
    return text
