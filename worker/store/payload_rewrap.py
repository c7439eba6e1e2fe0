"""Encrypts every stored payload under the first key, so that older keys can be given up."""

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from jobs.indexes import Index
from worker.store.client import texts
from worker.store.jobs import SCAN_CHUNK, JobStore
from worker.store.payload_cipher import UnreadablePayload, stored_key_id
from worker.store.payloads import INPUTS, METADATA, RESULT, PayloadStore
from worker.store.schedules import ScheduleStore
from worker.store.webhooks import EVENT_PREFIX, WebhookStore

PAYLOADS: Final = (INPUTS, RESULT, METADATA)
"""Fields of a job's hash that are encrypted."""


@dataclass(slots=True)
class RewrapReport:
    """What was found, counted by the id of the key; `plain` is not encrypted."""

    first_key: str
    found: Counter[str] = field(default_factory=Counter[str])
    """Payloads before."""
    rewritten: int = 0
    unreadable: Counter[str] = field(default_factory=Counter[str])
    """Of those, payloads that no key reads: they stay as they are."""

    @property
    def remaining(self) -> int:
        """Payloads that are not under the first key now."""
        return self.found.total() - self.found[self.first_key] - self.rewritten


class _StoredPayload(NamedTuple):
    """A payload in Redis."""

    key: str
    name: str
    place: str
    head: bytes
    """What stands before the payload in its field, as the time of a delivery."""
    stored: bytes


class PayloadRewrap:
    """Reads all payloads of a namespace, and writes those anew that are not under the first key."""

    def __init__(
        self,
        payloads: PayloadStore,
        jobs: JobStore,
        webhooks: WebhookStore,
        schedules: ScheduleStore,
    ) -> None:
        self._payloads = payloads
        self._schedules = schedules
        self._jobs = jobs
        self._webhooks = webhooks

    async def run(self, *, dry_run: bool = False) -> RewrapReport:
        """Rewrite what needs it; others may go on meanwhile, what they change is left to them.

        Where nothing remains under older keys, workers need them no longer to start.
        """
        report = RewrapReport(self._payloads.cipher.first_key_id)
        async for ids in self._jobs.ids_in(Index.ALL, ""):
            await self._rewrite(await self._of_jobs(ids), report, dry_run=dry_run)
        async for runs in self._delivered():
            await self._rewrite(await self._of_runs(runs), report, dry_run=dry_run)
        await self._rewrite(await self._of_schedules(), report, dry_run=dry_run)
        if not dry_run and not report.remaining:
            others = set(self._payloads.cipher.key_ids) - {report.first_key}
            if others:
                await self._payloads.forget_keys(others)
        return report

    async def _of_jobs(self, ids: Sequence[str]) -> list[_StoredPayload]:
        keys = self._payloads.keys
        rows = await self._payloads.client.many(
            [("HMGET", keys.job(one), *PAYLOADS) for one in ids]
        )
        return [
            _StoredPayload(keys.job(one), name, self._payloads.place(one, name), b"", stored)
            for one, row in zip(ids, rows, strict=True)
            for name, stored in zip(PAYLOADS, row, strict=True)
            if stored is not None
        ]

    async def _delivered(self) -> AsyncGenerator[list[str]]:
        """The runs with deliveries whose bodies are kept."""
        keys, client = self._payloads.keys, self._payloads.client
        for index in (keys.inbox, keys.orphans):
            cursor = 0
            while True:
                cursor, rows = await client.call("ZSCAN", index, cursor, "COUNT", SCAN_CHUNK)
                yield texts([member for member, _ in rows])
                if not int(cursor):
                    break

    async def _of_runs(self, runs: Sequence[str]) -> list[_StoredPayload]:
        keys = self._payloads.keys
        hashes: list[dict[bytes, Any]] = await self._payloads.client.many(
            [("HGETALL", keys.delivery(run)) for run in runs]
        )
        found: list[_StoredPayload] = []
        for run, fields in zip(runs, hashes, strict=True):
            for name, value in fields.items():
                text = name.decode("utf-8", "replace")
                moment, blank, body = value.partition(b" ")
                if text.startswith(EVENT_PREFIX) and body:
                    place = self._webhooks.place(run, text.removeprefix(EVENT_PREFIX))
                    key = keys.delivery(run)
                    found.append(_StoredPayload(key, text, place, moment + blank, body))
        return found

    async def _of_schedules(self) -> list[_StoredPayload]:
        """The inputs of all schedules, which are not many."""
        key = self._payloads.keys.schedule_inputs
        found: dict[bytes, bytes] = await self._payloads.client.call("HGETALL", key)
        names = [(name.decode("utf-8", "replace"), stored) for name, stored in found.items()]
        return [
            _StoredPayload(key, name, self._schedules.place(name), b"", stored)
            for name, stored in names
        ]

    async def _rewrite(
        self, payloads: Sequence[_StoredPayload], report: RewrapReport, *, dry_run: bool
    ) -> None:
        cipher = self._payloads.cipher
        for one in payloads:
            key_id = stored_key_id(one.stored)
            report.found[key_id] += 1
            if key_id == report.first_key:
                continue
            try:
                payload = cipher.open(one.place, one.stored)
            except UnreadablePayload:
                report.unreadable[key_id] += 1
                continue
            if dry_run:
                continue
            sealed = one.head + cipher.seal(one.place, payload)
            if await self._payloads.replace(one.key, one.name, one.head + one.stored, sealed):
                report.rewritten += 1
            else:  # it was written or removed meanwhile, by a process with keys of its own
                report.found[key_id] -= 1
