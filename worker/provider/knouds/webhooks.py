"""The deliveries of Knouds: who signed one, and what it says.

`X-Knouds-Signature: t=<unix>,v1=<hex>` with `v1 = HMAC-SHA256(secret, "<t>." + raw body)`, to be
refused more than 300 s away from now. Source: the provider's page on webhooks (docs/provider.md).
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
from msgspec import Raw
from pydantic import SecretStr

from worker.provider.knouds import fields, wire
from worker.provider.knouds.run_statuses import END_STATUSES, normalize_status
from worker.provider.port import DeliveredRun, WebhookEvent

SIGNATURE_HEADER: Final = "X-Knouds-Signature"
SIGNATURE_FORMAT: Final = "t=<unix>,v1=<hex>"
SIGNATURE_TOLERANCE_S: Final = 300
"""How far the time of a signature may be from ours, either way; from the provider's page."""

MAX_HEADER_CHARS: Final = 4_096
MAX_DIGESTS: Final = 16
"""Signatures in one header: two are enough while a secret is replaced."""

MAX_TARGETS: Final = 50
"""Models that are kept of one run."""

_TIME: Final = re.compile(r"[0-9]{1,12}")
_DIGEST: Final = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class KnoudsSignature:
    """A parsed signature header, with the secrets that may have made it."""

    time: str
    """Unix seconds, letter for letter: these characters were signed."""
    digests: tuple[bytes, ...]
    secrets: Sequence[bytes] = field(default=(), repr=False)

    def is_timely(self, now: float) -> bool:
        """Whether it was made within the tolerance, so that no old delivery can be replayed."""
        return abs(now - int(self.time)) <= SIGNATURE_TOLERANCE_S

    def matches(self, body: bytes) -> bool:
        """Whether one of the secrets made it for this body.

        Every digest is compared with every secret's, so that the time taken reveals nothing.
        """
        matched = False
        for secret in self.secrets:
            expected = hmac.digest(secret, self.time.encode() + b"." + body, hashlib.sha256)
            for digest in self.digests:
                matched |= hmac.compare_digest(expected, digest)
        return matched


def parse_signature(header: str, secrets: Sequence[bytes] = ()) -> KnoudsSignature | None:
    """Parse a header: one `t`, one or more `v1`, other schemes ignored; else None.

    >>> parse_signature("t=1,v1=00") is None
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
    return KnoudsSignature(times[0], tuple(bytes.fromhex(value) for value in digests), secrets)


class _DeliveryBody(msgspec.Struct, frozen=True, rename="camel"):
    """Members that only deliveries have, and those kept of an orphan, as raw JSON."""

    workflow_slug: Raw = Raw()
    model_ids: Raw = Raw()
    status: Raw = Raw()
    cost: Raw = Raw()
    request_id: Raw = Raw()


_delivery_decoder: Final = msgspec.json.Decoder(_DeliveryBody)


class KnoudsWebhooks:
    """Checks and reads deliveries of Knouds: a `WebhookReader`.

    `secrets`: of the dashboard, several while one is replaced; none accept no delivery.
    """

    signature_header = SIGNATURE_HEADER
    signature_format = SIGNATURE_FORMAT
    tolerance_s = SIGNATURE_TOLERANCE_S

    def __init__(self, secrets: Sequence[SecretStr] = ()) -> None:
        self._secrets = tuple(secret.get_secret_value().encode() for secret in secrets)

    @property
    def has_secret(self) -> bool:
        """Whether signatures can be checked."""
        return bool(self._secrets)

    def read_signature(self, headers: Iterable[tuple[str, str]]) -> KnoudsSignature | None:
        """Read the signature from all headers; None if there is none, or more than one."""
        name = SIGNATURE_HEADER.lower()
        values = [value for header, value in headers if header.lower() == name]
        return parse_signature(values[0], self._secrets) if len(values) == 1 else None

    def read_event(self, body: bytes) -> WebhookEvent | None:
        """Read a body; None if it is not a JSON object that names an event.

        Only `execution.` and an end of a run has an outcome; any other event is worth a poll.
        """
        members = fields.read_body(body)
        event = fields.read_code(members.event) if members else None
        if members is None or event is None:
            return None
        execution_id = fields.read_id(members.execution_id)
        subject, _, verb = event.partition(".")
        status = normalize_status(verb)
        is_end = subject == "execution" and status in END_STATUSES and execution_id is not None
        return WebhookEvent(
            event=event,
            execution_id=execution_id,
            request_id=fields.read_id(members.request_id),
            outcome=wire.read_run(members, status, None) if is_end else None,
            is_test=event == "webhook.test",
        )

    def read_run(self, body: bytes) -> DeliveredRun:
        """Read what a body says about its run; only those of workflows have a `workflowSlug`."""
        members = fields.decode(_delivery_decoder, body) or _DeliveryBody()
        slug = fields.read_id(members.workflow_slug)
        models = fields.read_texts(members.model_ids) or ()
        targets = [f"workflow/{slug}"] if slug else [f"model/{name}" for name in models]
        return DeliveredRun(
            targets=tuple(targets[:MAX_TARGETS]),
            status=fields.read_code(members.status),
            cost=fields.read_number(members.cost),
            request_id=fields.read_id(members.request_id),
        )
