"""Inputs of a dead letter with a merge patch applied."""

from collections.abc import Mapping
from typing import Any, cast

from worker.app.bulk_request import apply_merge_patch
from worker.app.enqueue import InvalidRequest
from worker.app.job_request_parser import encode_new_inputs
from worker.store.codec import DECODE_ERRORS, decode


def patched_inputs(inputs: bytes, patch: Mapping[str, Any], max_bytes: int) -> bytes:
    """The inputs with the patch applied; raises `InvalidRequest`, which never contains them."""
    try:
        found = decode(inputs)
    except DECODE_ERRORS:
        found = None
    if not isinstance(found, dict):
        raise InvalidRequest("inputs", "are not a JSON object: requeue this job with new inputs")
    try:
        patched = apply_merge_patch(cast("object", found), patch)
    except RecursionError:
        raise InvalidRequest("inputs", "are nested too deep: flatten them") from None
    return encode_new_inputs(patched, max_bytes)
