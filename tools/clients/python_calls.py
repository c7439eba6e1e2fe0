"""`calls.py` of the Python client: a method for each operation, sync and async."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tools.clients.python_models import HEADER
from tools.clients.python_types import Schema, annotation, attribute, docstring, optional

OMITTED: Final = frozenset({"stream_events", "receive_webhook", "get_openapi", "get_index"})
"""Written by hand, or not for apps."""

REPEATABLE_POSTS: Final = frozenset({"enqueue_job", "enqueue_jobs", "preview_job"})
"""Repeating one of these changes nothing: their jobs carry an id."""

_HEAD: Final = '''
"""The operations of the API, one method each."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from . import models
from .decoding import decode
from .requests import Request, path
'''

_SYNC: Final = '''

class Calls:
    """A method for each operation. Each raises `ApiError` and `ConnectionFailed`."""

    def _send(self, request: Request) -> Any:
        raise NotImplementedError
'''

_ASYNC: Final = '''

class AsyncCalls:
    """A coroutine for each operation. Each raises `ApiError` and `ConnectionFailed`."""

    async def _send(self, request: Request) -> Any:
        raise NotImplementedError
'''


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a method."""

    name: str
    kind: str
    place: str
    """`path`, `query` or `body`."""
    is_required: bool
    description: str

    @property
    def signature(self) -> str:
        """How it is declared."""
        if self.is_required:
            return f"{attribute(self.name)}: {self.kind}"
        return f"{attribute(self.name)}: {optional(self.kind)} = None"


def render_calls(document: Mapping[str, Any]) -> str:
    """The text of `calls.py`, not formatted yet."""
    schemas = document["components"]["schemas"]
    found = list(_operations(document))
    parts = [HEADER + _HEAD]
    for head, is_async in ((_SYNC, False), (_ASYNC, True)):
        methods = [
            _method(verb, url, one, _arguments(one, schemas), is_async=is_async)
            for url, verb, one in found
        ]
        parts += [head, *methods]
    return "\n".join(parts)


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Schema]]:
    for url, methods in document["paths"].items():
        for verb, operation in methods.items():
            if operation["operationId"] not in OMITTED:
                yield url, verb.upper(), operation


def _arguments(operation: Schema, schemas: Mapping[str, Schema]) -> list[Argument]:
    found = [
        Argument(
            one["name"],
            annotation(one["schema"], "models."),
            one["in"],
            one["required"],
            one.get("description", ""),
        )
        for one in operation["parameters"]
        if one["in"] != "header"
    ]
    if body := operation.get("requestBody"):
        reference = body["content"]["application/json"]["schema"]["$ref"]
        schema = schemas[reference.rpartition("/")[2]]
        found += [
            Argument(
                name,
                annotation(facts, "models."),
                "body",
                name in schema.get("required", ()),
                facts.get("description", ""),
            )
            for name, facts in schema["properties"].items()
        ]
    names = [one.name for one in found]
    if len(set(names)) < len(names):
        raise ValueError(f"{operation['operationId']}: a name is given to two arguments")
    return found


def _method(
    verb: str, url: str, operation: Schema, arguments: list[Argument], *, is_async: bool
) -> str:
    positional = [one.signature for one in arguments if one.place == "path"]
    named = [one for one in arguments if one.place != "path"]
    keywords = [one.signature for one in sorted(named, key=lambda one: not one.is_required)]
    answer, is_text = _answer(operation)
    declared = ", ".join(["self", *positional, *(["*", *keywords] if keywords else [])])
    name = operation["operationId"]
    send = f"{'await ' if is_async else ''}self._send({_request(verb, url, name, arguments)})"
    found = send if is_text else f"decode({answer}, {send})"
    return "\n".join(
        [
            f"    {'async ' if is_async else ''}def {name}({declared}) -> {answer}:",
            docstring(_text(operation, named), "        "),
            f"        answer: {answer} = {found}",
            "        return answer",
            "",
        ]
    )


def _text(operation: Schema, named: list[Argument]) -> str:
    lines = [operation["summary"]]
    if more := operation.get("description"):
        lines += ["", more]
    if described := [one for one in named if one.description]:
        lines += ["", *(f"{attribute(one.name)}: {one.description}" for one in described)]
    return "\n".join(lines)


def _answer(operation: Schema) -> tuple[str, bool]:
    """The annotation of the answer, and whether it is a text."""
    contents = [
        facts["schema"]
        for status, response in operation["responses"].items()
        if status < "300"
        for content_type, facts in response["content"].items()
        if content_type == "application/json"
    ]
    if not contents:
        return "str", True
    kinds = dict.fromkeys(annotation(one, "models.") for one in contents)
    members = dict.fromkeys(one for kind in kinds for one in kind.split(" | "))
    return " | ".join(members), False


def _request(verb: str, url: str, name: str, arguments: list[Argument]) -> str:
    """The expression that makes the request."""
    parts = [repr(verb), _path(url)]
    for place in ("query", "body"):
        given = [one.name for one in arguments if one.place == place]
        if given or (place == "body" and verb in {"POST", "PUT", "PATCH"}):
            pairs = ", ".join(f"{one!r}: {attribute(one)}" for one in given)
            parts.append(f"{place}={{{pairs}}}")
    if verb in {"GET", "PUT"} or name in REPEATABLE_POSTS:
        parts.append("is_repeatable=True")
    return f"Request({', '.join(parts)})"


def _path(url: str) -> str:
    names = re.findall(r"{(\w+)}", url)
    given = ", ".join(f"{one}={attribute(one)}" for one in names)
    return f"path({url!r}, {given})" if names else repr(url)
