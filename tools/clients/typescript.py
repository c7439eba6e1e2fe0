"""`operations.ts` of the TypeScript client: method and path of each operation."""

import json
from collections.abc import Mapping
from typing import Any

from tools.clients.python_calls import OMITTED, REPEATABLE_POSTS


def render_operations(document: Mapping[str, Any]) -> str:
    """The text of `operations.ts`."""
    rows = [
        f"  {operation['operationId']}: {json.dumps(_row(verb.upper(), url, operation))},"
        for url, methods in document["paths"].items()
        for verb, operation in methods.items()
        if operation["operationId"] not in OMITTED
    ]
    return "\n".join(
        [
            "// Written by `make clients` from /openapi.json. Do not edit.",
            "",
            "/** Method and path of each operation, and whether repeating it changes nothing. */",
            "export const OPERATIONS = {",
            *rows,
            "} as const;",
            "",
        ]
    )


def _row(verb: str, url: str, operation: Mapping[str, Any]) -> list[Any]:
    return [verb, url, verb in {"GET", "PUT"} or operation["operationId"] in REPEATABLE_POSTS]
