"""References in inputs: an object `{"$result": "id", "pointer": "/images/0"}` stands for a value.

The value is taken from the result of the job with that id once it has succeeded. `pointer` is a
JSON pointer (RFC 6901); without one it is the whole result.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

import msgspec

RESULT: Final = "$result"
POINTER: Final = "pointer"

MARK: Final = RESULT.encode()
"""Inputs without it have no reference: most jobs are done with one search."""

MAX_REFERENCES: Final = 100
MAX_POINTER_CHARS: Final = 500

_ARRAY_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,9}", re.ASCII)
_BAD_ESCAPE: Final = re.compile(r"~(?![01])")


class ResultReference(NamedTuple):
    """One reference, and where it stands."""

    job_id: str
    """As the app knows it."""
    pointer: str
    path: str
    """Where it stands in the inputs, as `inputs.images[0]`."""


class BadReference(ValueError):
    """A reference that cannot be one; completes the name of its place."""

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        super().__init__(message)


class ResultMissing(ValueError):
    """A result has nothing where a reference points to; never quotes the result."""

    def __init__(self, reference: ResultReference, message: str) -> None:
        self.reference = reference
        super().__init__(message)


def references_in(inputs: bytes) -> tuple[ResultReference, ...]:
    """The references in inputs (a JSON object as text); raises `BadReference`."""
    if MARK not in inputs:
        return ()
    found = tuple(_walk(msgspec.json.decode(inputs), "inputs"))
    if len(found) > MAX_REFERENCES:
        raise BadReference("inputs", f"take from results {len(found)} times: {MAX_REFERENCES} may")
    return found


def resolve(inputs: bytes, results: Mapping[str, bytes]) -> bytes:
    """The inputs with each reference replaced; raises `ResultMissing` or `BadReference`.

    `results`: JSON texts, by the id of the job as the app knows it.
    """
    decoded: dict[str, Any] = {
        job_id: msgspec.json.decode(text) for job_id, text in results.items()
    }
    value = _replaced(msgspec.json.decode(inputs), "inputs", decoded)
    return msgspec.json.encode(value, order="sorted")


def point(document: object, pointer: str) -> object:
    """What a JSON pointer points to; raises LookupError where there is nothing.

    >>> point({"images": [{"url": "a"}]}, "/images/0/url"), point({"a/b": 1}, "/a~1b")
    ('a', 1)
    """
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = cast("dict[str, object]", document)[name]
        elif isinstance(document, list) and _ARRAY_INDEX.fullmatch(name):
            document = cast("list[object]", document)[int(name)]
        else:
            raise LookupError(name)
    return document


def _as_reference(value: dict[str, Any], path: str) -> ResultReference | None:
    """The reference that an object is; None for another object."""
    if RESULT not in value:
        return None
    job_id, pointer = value[RESULT], value.get(POINTER, "")
    if more := value.keys() - {RESULT, POINTER}:
        raise BadReference(path, f"has {RESULT} and {len(more)} more: it may have {POINTER} only")
    if not isinstance(job_id, str) or not job_id:
        raise BadReference(f"{path}.{RESULT}", "must be the id of a job that `after` names")
    is_pointer = isinstance(pointer, str) and (not pointer or pointer.startswith("/"))
    if not is_pointer or len(pointer) > MAX_POINTER_CHARS or _BAD_ESCAPE.search(pointer):
        raise BadReference(
            f"{path}.{POINTER}",
            "must be a JSON pointer (RFC 6901) that starts with /, as /images/0, of at most"
            f" {MAX_POINTER_CHARS} characters; omit it for the whole result",
        )
    return ResultReference(job_id, pointer, path)


def _walk(value: object, path: str) -> Iterator[ResultReference]:
    if isinstance(value, list):
        for number, one in enumerate(cast("list[object]", value)):
            yield from _walk(one, f"{path}[{number}]")
    elif isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        if (reference := _as_reference(members, path)) is not None:
            yield reference
            return
        for name, one in members.items():
            yield from _walk(one, f"{path}.{name}")


def _replaced(value: object, path: str, results: Mapping[str, Any]) -> object:
    if isinstance(value, list):
        items = cast("list[object]", value)
        return [_replaced(one, f"{path}[{n}]", results) for n, one in enumerate(items)]
    if not isinstance(value, dict):
        return value
    members = cast("dict[str, Any]", value)
    if (reference := _as_reference(members, path)) is None:
        return {name: _replaced(one, f"{path}.{name}", results) for name, one in members.items()}
    if reference.job_id not in results:
        raise ResultMissing(reference, f"the result of job {reference.job_id} is not on record")
    try:
        return point(results[reference.job_id], reference.pointer)
    except LookupError:
        text = f"the result of job {reference.job_id} has nothing at {reference.pointer}"
        raise ResultMissing(reference, text) from None
