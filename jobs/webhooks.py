"""The provider's deliveries: who may have signed one, and how long one without a job is kept.

`X-Knouds-Signature: t=<unix>,v1=<hex>` with `v1 = HMAC-SHA256(secret, "<t>." + raw body)`, to be
refused more than 300 s away from now: the provider's page on webhooks. Pure arithmetic on bytes.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

SIGNATURE_TOLERANCE_S: Final = 300
"""How far a signature's time may be from ours, either way; from the provider's page."""

MAX_HEADER_CHARS: Final = 4_096
MAX_DIGESTS: Final = 16
"""Signatures in one header: a secret being changed needs two."""

ORPHAN_RETENTION_S: Final = 7 * 86_400
"""How long a delivery that no job claims is kept."""

RUN_END_MEMORY_S: Final = 86_400
"""How long the end of a run is remembered, so that a repeated delivery of it changes nothing."""

MATCH_RETRY_FOR_S: Final = 600.0
"""How long the job of a delivery is looked for again by itself: the answer to a submit may take as
long as the submit's timeout. Later only a person who attaches it finds it."""

MIN_MATCH_RETRY_S: Final = 1.0

_TIME: Final = re.compile(r"[0-9]{1,12}")
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature header, read."""

    time: str
    """The time as it was sent: these very characters were signed."""
    digests: tuple[bytes, ...]

    def is_timely(self, now: float) -> bool:
        """Whether it was made within the tolerance, so that an old delivery cannot be replayed."""
        return abs(now - int(self.time)) <= SIGNATURE_TOLERANCE_S

    def matches(self, body: bytes, secrets: Sequence[bytes]) -> bool:
        """Whether one of the secrets made it for this body.

        Every digest is compared with every secret's, so that time tells nothing.
        """
        found = False
        for secret in secrets:
            made = sign(secret, self.time, body)
            for given in self.digests:
                found |= hmac.compare_digest(made, given)
        return found


def parse_signature(header: str) -> Signature | None:
    """Read a header: one `t`, one or more `v1`, other schemes passed over; None for anything else.

    >>> read_signature("t=1,v1=00") is None
    True
    """
    if len(header) > MAX_HEADER_CHARS:
        return None
    parts = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    digests = [value for name, _, value in parts if name == "v1"]
    if len(times) != 1 or not 1 <= len(digests) <= MAX_DIGESTS:
        return None
    if not _TIME.fullmatch(times[0]) or not all(map(_DIGEST.fullmatch, digests)):
        return None
    return Signature(times[0], tuple(bytes.fromhex(value) for value in digests))


def sign(secret: bytes, time: str, body: bytes) -> bytes:
    """What a secret makes of a body at a time."""
    return hmac.digest(secret, time.encode() + b"." + body, hashlib.sha256)


def next_match_at(received_at: float, now: float) -> float | None:
    """When the job of a delivery is looked for again: as long from now as it has waited already.

    None where that has gone on long enough.
    """
    age = now - received_at
    return now + max(MIN_MATCH_RETRY_S, age) if age <= MATCH_RETRY_FOR_S else None
