"""The examples of `/openapi.json`: requests and answers that `make examples` recorded."""

import json
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

EXAMPLES_FILE: Final = Path(__file__).parent / "openapi_examples.json"

Examples = dict[str, dict[str, Any]]
"""Operation id → `request`, a body, and `responses`, a body by status."""


@cache
def examples() -> Examples:
    """Every recorded example."""
    return cast("Examples", json.loads(EXAMPLES_FILE.read_text(encoding="utf-8")))


def example_of_request(operation_id: str) -> dict[str, Any]:
    """The recorded body of a request as `example`; nothing where there is none."""
    found = examples().get(operation_id, {})
    return {"example": found["request"]} if "request" in found else {}


def example_of_response(operation_id: str, status: str) -> dict[str, Any]:
    """The recorded body of a response as `example`; nothing where there is none."""
    responses = examples().get(operation_id, {}).get("responses", {})
    return {"example": responses[status]} if status in responses else {}
