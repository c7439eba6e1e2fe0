"""Reads JSON from form fields: strictly, and without repeating it in an error."""

import json
from typing import Any, cast

from worker.app.enqueue import InvalidRequest
from worker.app.job_request_parser import encode_inputs
from worker.app.unique_names import DuplicateNameError, require_unique_names
from worker.store.codec import DECODE_ERRORS, decode


def read_inputs(text: str, max_bytes: int) -> bytes:
    """Inputs as encoded JSON, at most `max_bytes` long; raises `InvalidRequest`."""
    return encode_inputs(_object("inputs", text, 'such as {"prompt": "a cat"}'), max_bytes)


def read_patch(text: str) -> dict[str, Any]:
    """A merge patch (RFC 7396); raises `InvalidRequest`."""
    return _object("patch", text, 'such as {"steps": 20}; null removes a field')


def _object(field: str, text: str, example: str) -> dict[str, Any]:
    try:
        require_unique_names(text)
        found = decode(text.encode())
    except DuplicateNameError:
        raise InvalidRequest(
            field, "has a duplicate name in an object: give each name once"
        ) from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise InvalidRequest(field, f"must be valid JSON, error at {where}: {error.msg}") from None
    except DECODE_ERRORS:
        raise InvalidRequest(
            field, "must be JSON that can be stored: less nested, without lone surrogates"
        ) from None
    if not isinstance(found, dict):
        raise InvalidRequest(field, f"must be a JSON object, {example}")
    return cast("dict[str, Any]", found)
