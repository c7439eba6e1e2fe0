"""Verifies callbacks: Standard Webhooks, HMAC-SHA256 over id, timestamp and body."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .decoding import decode
from .errors import InvalidCallback
from .models import Job

TOLERANCE_S = 300.0
"""How old a callback may be, or ahead of this clock; that of the specification's libraries."""

_PREFIX = "whsec_"


@dataclass(frozen=True)
class Callback:
    """A callback that is proved to come from the server."""

    id: str
    """The same for every delivery of one event: act on it once."""
    type: str
    """As `job.succeeded`, `job.dead`, `job.cancelled`, `job.parked`, `batch.completed`."""
    timestamp: datetime
    """When it happened."""
    sequence: int
    """It grows with each event of a job: of two, the larger one is newer."""
    data: dict[str, Any]
    """The job or batch as the API shows it, without inputs."""

    @property
    def job(self) -> Job | None:
        """The job as it was then, with its result; None where the event is not about a job."""
        if not self.type.startswith("job."):
            return None
        job: Job = decode(Job, self.data)
        return job


def verify_callback(
    secret: str | Iterable[str],
    headers: Mapping[str, str],
    body: bytes | str,
    *,
    tolerance_s: float = TOLERANCE_S,
) -> Callback:
    """Read a callback; raises `InvalidCallback` unless one of the secrets signed it.

    `secret`: as `KNOUDS_CALLBACK_SECRET`, several with commas or as a list. `body`: as it was
    received, before any parsing.
    """
    given = {name.lower(): value for name, value in headers.items()}
    try:
        message_id, sent_at = given["webhook-id"], given["webhook-timestamp"]
        signatures = given["webhook-signature"].split()
        age_s = abs(time.time() - int(sent_at))
    except (KeyError, ValueError):
        raise InvalidCallback("the headers of a signature are missing or unreadable") from None
    if age_s > tolerance_s:
        raise InvalidCallback("the timestamp is too old or too new: is the clock right?")
    raw = body.encode() if isinstance(body, str) else body
    signed = f"{message_id}.{sent_at}.".encode() + raw
    if not any(_is_signed(key, signed, signatures) for key in _keys(secret)):
        raise InvalidCallback("no signature matches: wrong secret, or the body was changed")
    return _parsed(message_id, raw)


def _keys(secret: str | Iterable[str]) -> list[bytes]:
    texts = secret.split(",") if isinstance(secret, str) else secret
    try:
        return [base64.b64decode(one.strip().removeprefix(_PREFIX), validate=True) for one in texts]
    except binascii.Error:
        raise ValueError("a callback secret is whsec_ and base64") from None


def _is_signed(key: bytes, signed: bytes, signatures: list[str]) -> bool:
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256))
    versions = (one.partition(",") for one in signatures)
    return any(
        version == "v1" and hmac.compare_digest(expected, found.encode())
        for version, _, found in versions
    )


def _parsed(message_id: str, raw: bytes) -> Callback:
    try:
        value = json.loads(raw)
        moment = decode(datetime, value["timestamp"])
        return Callback(message_id, value["type"], moment, int(value["sequence"]), value["data"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidCallback("signed, but not a callback of knouds-worker") from None
