"""Reads JSON from form fields: strictly, and without repeating it in an error."""

from typing import Any, cast

from worker.app.enqueue import InvalidRequest
from worker.app.json_text import InvalidJson, decode_json


def read_inputs(text: str) -> dict[str, Any]:
    """The inputs of a run; raises `InvalidRequest`."""
    return _object("inputs", text, 'such as {"prompt": "a cat"}')


def read_job_request(text: str) -> dict[str, Any]:
    """A job request; raises `InvalidRequest`."""
    return _object("job", text, "with kind, target and inputs")


def read_patch(text: str) -> dict[str, Any]:
    """A merge patch (RFC 7396); raises `InvalidRequest`."""
    return _object("patch", text, 'such as {"steps": 20}; null removes a field')


def _object(field: str, text: str, example: str) -> dict[str, Any]:
    try:
        found = decode_json(text.encode())
    except UnicodeEncodeError:
        raise InvalidRequest(field, "contains half a surrogate pair") from None
    except InvalidJson as error:
        raise InvalidRequest(field, f"cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise InvalidRequest(field, f"must be a JSON object, {example}")
    return cast("dict[str, Any]", found)
