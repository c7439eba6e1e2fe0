"""Receives the provider's webhooks: checks and stores them; workers process them later.

The signature alone authenticates a delivery: it carries no token, and any host name is accepted,
since proxies may be in front of us. A delivery without a valid signature only changes a counter.
"""

from collections import Counter
from enum import StrEnum
from typing import Final

import structlog
from aiohttp import web

from worker.api.edge.bodies import BodyKind, BodyTooLarge, read_limited
from worker.api.problems import Problem
from worker.clock import Clock
from worker.provider.port import DeliverySignature, WebhookEvent, WebhookReader
from worker.store import Store
from worker.store.webhooks import ReceiveResult

log: Final = structlog.get_logger(__name__)


class ReceiptOutcome(StrEnum):
    """What became of a delivery; the response to a signed one names it."""

    STORED = "stored"
    KNOWN = "known"
    """It was delivered before, or the end of its run is recorded."""
    TEST = "test"
    IGNORED = "ignored"
    """It names no run."""

    # Refused.
    CLOSED = "closed"
    UNSIGNED = "unsigned"
    UNTIMELY = "untimely"
    FORGED = "forged"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"


_REFUSALS: Final = {
    ReceiptOutcome.CLOSED: (404, "no-secret", "Webhooks are off"),
    ReceiptOutcome.UNSIGNED: (401, "no-signature", "Not signed"),
    ReceiptOutcome.UNTIMELY: (401, "untimely", "Signature expired"),
    ReceiptOutcome.FORGED: (401, "bad-signature", "Bad signature"),
    ReceiptOutcome.TOO_LARGE: (413, "too-large", "Body too large"),
    ReceiptOutcome.UNREADABLE: (400, "malformed", "Malformed JSON"),
}
"""Status, problem name and title of each refusal."""


class WebhookReceiver:
    """Receives deliveries, and counts their outcomes."""

    def __init__(self, store: Store, clock: Clock, reader: WebhookReader) -> None:
        self._store = store
        self._clock = clock
        self._reader = reader
        self.counts: Counter[ReceiptOutcome] = Counter()
        """Outcomes since the start of this process."""

    async def receive(self, request: web.Request) -> ReceiptOutcome:
        """Check a delivery and store it; raises `Problem`."""
        signature = self._require_signature(request)
        try:
            body = await read_limited(request, BodyKind.DELIVERY)
        except BodyTooLarge as error:
            raise self._refusal(ReceiptOutcome.TOO_LARGE, error.detail) from None
        if not signature.matches(body):
            detail = "no secret of KNOUDS_WEBHOOK_SECRET made this signature for this body"
            raise self._refusal(ReceiptOutcome.FORGED, detail)
        event = self._reader.read_event(body)
        if event is None:
            detail = "the body is not a JSON object that names an event"
            raise self._refusal(ReceiptOutcome.UNREADABLE, detail)
        outcome = await self._store_event(event, body)
        self._count(outcome)
        return outcome

    def _count(self, outcome: ReceiptOutcome) -> None:
        self.counts[outcome] += 1
        self._store.metrics.buffer.webhook_received(outcome)

    def _require_signature(self, request: web.Request) -> DeliverySignature:
        """The signature, checked for its time before the body is read; raises `Problem`."""
        if not self._reader.has_secret:
            detail = (
                "webhooks are not accepted: set KNOUDS_WEBHOOK_SECRET to the dashboard's secret"
            )
            raise self._refusal(ReceiptOutcome.CLOSED, detail)
        signature = self._reader.read_signature(request.headers.items())
        if signature is None:
            header = f"{self._reader.signature_header}: {self._reader.signature_format}"
            raise self._refusal(ReceiptOutcome.UNSIGNED, f"send one header `{header}`")
        if not signature.is_timely(self._clock.now()):
            detail = (
                f"the signature's time is more than {self._reader.tolerance_s} s from ours:"
                " sign again"
            )
            raise self._refusal(ReceiptOutcome.UNTIMELY, detail)
        return signature

    async def _store_event(self, event: WebhookEvent, body: bytes) -> ReceiptOutcome:
        if event.is_test:
            log.info("webhook.test_received")
            return ReceiptOutcome.TEST
        if event.execution_id is None:
            log.warning("webhook.ignored", event_name=event.event)
            return ReceiptOutcome.IGNORED
        result = await self._store.webhooks.receive(
            event.execution_id, event.event, body, self._clock.now()
        )
        return ReceiptOutcome.STORED if result is ReceiveResult.NEW else ReceiptOutcome.KNOWN

    def _refusal(self, outcome: ReceiptOutcome, detail: str) -> Problem:
        """Count a refusal, and log it each time the count has doubled: everyone can cause them."""
        status, name, title = _REFUSALS[outcome]
        self._count(outcome)
        count = self.counts[outcome]
        if count & (count - 1) == 0:
            log.warning("webhook.refused", reason=outcome.value, count=count)
        challenge = {"WWW-Authenticate": self._reader.signature_header}
        headers = challenge if status == 401 else None  # noqa: PLR2004
        return Problem(status, name, title, detail, headers=headers)
