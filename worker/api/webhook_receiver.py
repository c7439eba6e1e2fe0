"""Where the provider's deliveries come in: checked, stored, answered; workers do the rest.

Who may deliver is told by the signature alone: no token, and any host name, since a delivery comes
through whatever stands before us. What is not signed changes nothing but a count.
"""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import structlog
from aiohttp import web
from pydantic import SecretStr

from jobs.webhooks import TOLERANCE_S, Signature, read_signature
from worker.api.problems import Problem
from worker.clock import Clock
from worker.provider.knouds.wire import read_webhook
from worker.provider.port import WebhookEvent
from worker.store import Store
from worker.store.webhooks import Received

log: Final = structlog.get_logger(__name__)

HEADER: Final = "X-Knouds-Signature"
TEST: Final = "webhook.test"

MARGIN_BYTES: Final = 1 << 20
"""What a delivery may have around a result of `KNOUDS_MAX_RESULT_BYTES`."""

_CHALLENGE: Final = {"WWW-Authenticate": HEADER}


class Outcome(StrEnum):
    """What became of a request; those that are signed are told it."""

    STORED = "stored"
    KNOWN = "known"
    """It came before, or the end of its run is on record."""
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


class Reception:
    """Takes deliveries in, and counts what came."""

    def __init__(
        self, store: Store, clock: Clock, secrets: Sequence[SecretStr], max_result_bytes: int
    ) -> None:
        self._store = store
        self._clock = clock
        self._secrets = [secret.get_secret_value().encode() for secret in secrets]
        self._most = max_result_bytes + MARGIN_BYTES
        self.counts: Counter[Outcome] = Counter()
        """What came since the start of this process."""

    async def take(self, request: web.Request) -> Outcome:
        """Check a request and store what it brings; raises `Problem`."""
        signature = self._signature(request)
        body = await self._read(request)
        if not signature.is_of(body, self._secrets):
            detail = "no secret of KNOUDS_WEBHOOK_SECRET made this signature for this body"
            raise self._refused(Outcome.FORGED, 401, "bad-signature", "Bad signature", detail)
        event = read_webhook(body)
        if event is None:
            detail = "the body is no JSON object that names an event"
            raise self._refused(Outcome.UNREADABLE, 400, "malformed", "Malformed JSON", detail)
        outcome = await self._store_event(event, body)
        self._count(outcome)
        return outcome

    def _count(self, outcome: Outcome) -> None:
        self.counts[outcome] += 1
        self._store.tally.received(outcome)

    async def adopt(self, execution_id: str, job_id: str) -> None:
        """Give a run, and what was and will be delivered of it, to the job it was attached to."""
        if self._secrets:
            await self._store.webhooks.adopt(execution_id, job_id, self._clock.now())

    def _signature(self, request: web.Request) -> Signature:
        """The signature, before a byte of the body is read."""
        if not self._secrets:
            detail = "no webhook is taken: set KNOUDS_WEBHOOK_SECRET to the dashboard's secret"
            raise self._refused(Outcome.CLOSED, 404, "no-secret", "Webhooks are off", detail)
        given = request.headers.getall(HEADER, [])
        signature = read_signature(given[0]) if len(given) == 1 else None
        if signature is None:
            detail = f"send one header `{HEADER}: t=<unix>,v1=<hex>`"
            raise self._refused(Outcome.UNSIGNED, 401, "no-signature", "Not signed", detail)
        if not signature.is_timely(self._clock.now()):
            detail = f"the signature's time is more than {TOLERANCE_S} s from ours: sign anew"
            raise self._refused(Outcome.UNTIMELY, 401, "untimely", "Not of this time", detail)
        return signature

    async def _read(self, request: web.Request) -> bytes:
        body = bytearray()
        if (request.content_length or 0) <= self._most:
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > self._most:
                    break
            else:
                return bytes(body)
        detail = "the delivery is larger than KNOUDS_MAX_RESULT_BYTES and 1 MiB: polls bring it"
        raise self._refused(Outcome.TOO_LARGE, 413, "too-large", "Body too large", detail)

    async def _store_event(self, event: WebhookEvent, body: bytes) -> Outcome:
        if event.event == TEST:
            log.info("webhook.tested")
            return Outcome.TEST
        if event.execution_id is None:
            log.warning("webhook.ignored", delivered=event.event)
            return Outcome.IGNORED
        found = await self._store.webhooks.receive(
            event.execution_id, event.event, body, self._clock.now()
        )
        return Outcome.STORED if found is Received.NEW else Outcome.KNOWN

    def _refused(
        self, outcome: Outcome, status: int, name: str, title: str, detail: str
    ) -> Problem:
        """Count a refusal, and log it each time its count has doubled: anybody can cause them."""
        self._count(outcome)
        count = self.counts[outcome]
        if count & (count - 1) == 0:
            log.warning("webhook.refused", why=outcome.value, count=count)
        headers = _CHALLENGE if status == 401 else None  # noqa: PLR2004
        return Problem(status, name, title, detail, headers=headers)
