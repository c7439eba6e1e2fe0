"""Reading requests: JSON bodies and query parameters, each into its model."""

import json
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web
from pydantic import BaseModel, ValidationError

from worker.api.problems import Problem, bad_field, bad_parameter
from worker.app.job_request_parser import as_invalid_request
from worker.app.unique_names import DuplicateNameError, require_unique_names
from worker.store.codec import DECODE_ERRORS, decode

M = TypeVar("M", bound=BaseModel)

_TOO_DEEP: Final = "the body is nested too deeply: flatten it"


async def read_json(request: web.Request) -> Any:
    """The body as JSON decodes it, or {} where there is none; raises `Problem`.

    The content type must be JSON: a foreign web page can send a form without a CORS preflight.
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
    try:
        require_unique_names(body.decode())
    except DuplicateNameError as error:
        raise _malformed(f"{error}: give each name once") from None
    except (RecursionError, ValueError):
        raise _malformed(_TOO_DEEP) from None
    return data


async def read_body(request: web.Request, model: type[M]) -> M:
    """The body as a model; raises `Problem` or `InvalidRequest`."""
    return validate_model(await read_json(request), model)


def validate_model(data: object, model: type[M]) -> M:
    """A decoded JSON body as a model; raises `Problem` or `InvalidRequest`."""
    if not isinstance(data, dict):
        raise bad_field("body", "must be a JSON object")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise as_invalid_request(error, model) from None


def read_query(request: web.Request, model: type[M]) -> M:
    """The query parameters as a model; raises `Problem` for an unknown, repeated or wrong one."""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name in given:
            raise bad_parameter(_printable(name), "is given twice: give it once")
        given[name] = value
    try:
        return model.model_validate(given)
    except ValidationError as error:
        invalid = as_invalid_request(error, model)
        raise bad_parameter(invalid.field, str(invalid)) from None


def _printable(name: str) -> str:
    return repr(name[:64])[1:-1]


# Errors of a body that is not JSON.


def _malformed(detail: str) -> Problem:
    return Problem(400, "malformed", "Malformed JSON", detail)


def _explain_decode_error(body: bytes, error: Exception) -> str:
    """The error with its position, from the standard library: msgspec does not report it."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as invalid:
        return f"the body is not UTF-8 (byte {invalid.start}): encode it as UTF-8"
    if text.startswith("\ufeff"):
        return "the body starts with a byte order mark: remove it"
    try:
        json.loads(text, parse_constant=_reject_constant)
    except RecursionError:
        return _TOO_DEEP
    except _NonFiniteNumber as constant:
        return f"{constant} is not JSON: send a number, a string or null"
    except json.JSONDecodeError as invalid:
        where = f"line {invalid.lineno} column {invalid.colno}"
        return f"the body is not JSON: {invalid.msg} at {where}"
    except ValueError:
        return "the body contains a number with too many digits"
    if isinstance(error, msgspec.ValidationError):
        return "the body contains a number out of range"
    return (
        "a string contains half a surrogate pair (a lone \\ud800 to \\udfff): send whole"
        " characters, and cut strings between characters"
    )


class _NonFiniteNumber(Exception):
    """NaN, Infinity or -Infinity."""


def _reject_constant(name: str) -> Any:
    raise _NonFiniteNumber(name)
