"""Reading requests: JSON bodies and query parameters, each into its model."""

from collections.abc import Callable
from typing import Any, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from worker.api.edge.bodies import BodyKind, read_limited
from worker.api.edge.off_loop import parse_off_loop
from worker.api.problems import Problem, bad_field, bad_parameter
from worker.app.job_request_parser import as_invalid_request
from worker.app.json_text import InvalidJson, decode_json

M = TypeVar("M", bound=BaseModel)
T = TypeVar("T")


async def read_parsed(request: web.Request, kind: BodyKind, parse: Callable[[Any], T]) -> T:
    """What `parse` makes of the body's JSON, of {} where there is none; raises `Problem`.

    A large body is decoded and parsed beside the event loop. The content type must be JSON: a
    foreign web page can send a form without a CORS preflight.
    """
    body = await read_limited(request, kind)
    if not body:
        return parse({})
    if request.content_type != "application/json" and not request.content_type.endswith("+json"):
        detail = "send the body as JSON with the header `Content-Type: application/json`"
        raise Problem(415, "not-json", "Not JSON", detail)
    try:
        return await parse_off_loop(len(body), lambda: parse(decode_json(body)))
    except InvalidJson as error:
        raise Problem(
            400, "malformed", "Malformed JSON", f"the body cannot be read: {error}"
        ) from None


async def read_body(request: web.Request, model: type[M], kind: BodyKind = BodyKind.SMALL) -> M:
    """The body as a model; raises `Problem` or `InvalidRequest`."""
    return await read_parsed(request, kind, lambda data: validate_model(data, model))


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
