"""Reading requests: JSON bodies and query parameters, each into its model."""

import json
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from pydantic import BaseModel, ValidationError

from worker.api.problems import Problem, bad_field, bad_parameter
from worker.app.job_request_parser import as_invalid_request
from worker.store.codec import DECODE_ERRORS, decode

M = TypeVar("M", bound=BaseModel)

_TOO_DEEP: Final = "the body is nested too deep: flatten it"


async def read_json(request: web.Request) -> Any:
    """The body as JSON decodes it, or {} where there is none; raises `Problem`.

    The content type must be JSON: a form of a foreign web page can send any other without asking.
    """
    body = await request.read()
    if not body:
        return {}
    kind = request.content_type
    if kind != "application/json" and not kind.endswith("+json"):
        detail = "send the body as JSON with the header `Content-Type: application/json`"
        raise Problem(415, "not-json", "Not JSON", detail)
    try:
        data = decode(body)
    except RecursionError:
        raise _malformed(_TOO_DEEP) from None
    except DECODE_ERRORS as error:
        raise _malformed(_explain_decode_error(body, error)) from None
    _require_unique_names(body)
    return data


async def read_body(request: web.Request, model: type[M]) -> M:
    """The body as a model; raises `Problem` or `BadOrder`."""
    return validate_model(await read_json(request), model)


def validate_model(data: object, model: type[M]) -> M:
    """What JSON decoded to as a model; raises `Problem` or `BadOrder`."""
    if not isinstance(data, dict):
        raise bad_field("body", "must be a JSON object")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise as_invalid_request(error, model) from None


def read_query(request: web.Request, model: type[M]) -> M:
    """The query parameters as a model; raises `Problem` for one unknown, doubled or wrong."""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name in given:
            raise bad_parameter(_printable(name), "is given twice: give it once")
        given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        fault = as_invalid_request(error, model)
        raise bad_parameter(fault.field, str(fault)) from None


def _printable(name: str) -> str:
    return repr(name[:64])[1:-1]


# What is wrong with a body that is not JSON.


def _malformed(detail: str) -> Problem:
    return Problem(400, "malformed", "Malformed JSON", detail)


def _explain_decode_error(body: bytes, error: Exception) -> str:
    """Say it better than the fast decoder does: the standard library takes a second look."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as fault:
        return f"the body is not UTF-8 (byte {fault.start}): encode it as UTF-8"
    if text.startswith("\ufeff"):
        return "the body starts with a byte order mark: send it without"
    try:
        json.loads(text, parse_constant=_reject_constant)
    except RecursionError:
        return _TOO_DEEP
    except _NonFiniteNumber as constant:
        return f"{constant} is not JSON: send a number, a text or null"
    except json.JSONDecodeError as fault:
        return f"the body is not JSON: {fault.msg} at line {fault.lineno} column {fault.colno}"
    except ValueError:
        return "the body holds a number too long to read"
    if isinstance(error, msgspec.ValidationError):
        return "the body holds a number out of range"
    return (
        "a text holds half a surrogate pair (a lone \\ud800 to \\udfff): send whole characters,"
        " and cut texts between characters"
    )


class _NonFiniteNumber(Exception):
    """NaN, Infinity or -Infinity."""


def _reject_constant(name: str) -> Any:
    raise _NonFiniteNumber(name)


class DuplicateName(Exception):
    """A name stands twice in one object."""


def reject_duplicate_names(pairs: list[tuple[str, Any]]) -> None:
    """Hook for `json.loads`; raises `DuplicateName` for an object that has a name twice."""
    if len({name for name, _ in pairs}) != len(pairs):
        raise DuplicateName


def _require_unique_names(body: bytes) -> None:
    """Refuse a name given twice: JSON would settle it in silence, and one of the two is paid for.

    The decoder does not tell, so this is a second pass; it keeps nothing.
    """
    try:
        json.loads(
            body.decode(),
            object_pairs_hook=reject_duplicate_names,
            parse_float=_ignore_number,
            parse_int=_ignore_number,
        )
    except DuplicateName:
        raise _malformed("a name stands twice in one object: give each once") from None
    except (RecursionError, ValueError):
        raise _malformed(_TOO_DEEP) from None


def _ignore_number(text: str) -> None:
    del text
