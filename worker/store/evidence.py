"""What the evidence service reads and writes beside job records."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final

import msgspec

from jobs.evidence.records import EvidenceFinding
from jobs.indexes import Index, finding_name
from jobs.lanes import JobId, Lane
from jobs.states import State
from worker.store.client import Client, texts
from worker.store.codec import DECODE_ERRORS, encode
from worker.store.keys import Keys
from worker.store.leases import claim_lease

CHUNK: Final = 200
"""Job ids of one chunk."""

CLOCK_MARGIN_S: Final = 60.0
"""How far the clocks of our machines may be apart."""


class ReconcileOff(msgspec.Struct, frozen=True):
    """Why `reconcile` submits nothing of an account any more: a row came after its grace."""

    account: str
    at: float
    """Unix seconds."""
    job_id: str
    row_id: int | None = None


_reconcile_off: Final = msgspec.json.Decoder(ReconcileOff)


class EvidenceStore:
    """Which jobs need evidence, who reads it, and where reconciling is switched off."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def due_times(
        self, accounts: Sequence[str], purpose: Index = Index.EVIDENCE
    ) -> dict[str, float]:
        """The accounts with jobs in an index → when the list is to be read for them next.

        `purpose`: `EVIDENCE` for uncertain submits, `COST` for costs that are not known yet.
        """
        commands = [
            ("ZRANGE", self._keys.index(purpose, account), 0, 0, "WITHSCORES")
            for account in accounts
        ]
        rows = await self._client.many(commands) if commands else []
        return {account: float(row[1]) for account, row in zip(accounts, rows, strict=True) if row}

    async def claimants(
        self, account: str, limit: int, purpose: Index = Index.EVIDENCE
    ) -> list[JobId]:
        """The jobs of an account that the list is read for, the next one due first."""
        key = self._keys.index(purpose, account)
        return [JobId(m) for m in texts(await self._client.call("ZRANGE", key, 0, limit - 1))]

    async def changed_since(self, moment: float) -> AsyncGenerator[list[JobId]]:
        """Ids of every job that may have been sent since `moment` (Unix seconds), in chunks.

        A job that was sent since then entered its state since then, unless it is submitting. One
        that changes state meanwhile may come twice, or only under its new state.
        """
        for state in State:  # in the order of a job's life: one that moves on is met again
            key = self._keys.index(Index.STATE, state)
            low = "-inf" if state is State.SUBMITTING else moment - CLOCK_MARGIN_S
            seen: set[str] = set()
            first = 0
            while True:
                found = texts(
                    await self._client.call(
                        "ZRANGEBYSCORE", key, low, "+inf", "LIMIT", first, CHUNK
                    )
                )
                new = [job_id for job_id in found if job_id not in seen]
                seen.update(new)
                if new:
                    yield [JobId(job_id) for job_id in new]
                if len(found) < CHUNK:
                    break
                first += CHUNK - CHUNK // 10

    async def findings(
        self, groups: Sequence[tuple[str, Lane]]
    ) -> list[dict[EvidenceFinding, int]]:
        """For each group of uncertain jobs, how many have each finding."""
        names = [(*group, finding) for group in groups for finding in EvidenceFinding]
        commands = [
            ("ZCARD", self._keys.index(Index.FINDING, finding_name(finding, group, lane)))
            for group, lane, finding in names
        ]
        sizes = iter(await self._client.many(commands) if commands else ())
        return [
            {finding: size for finding in EvidenceFinding if (size := int(next(sizes)))}
            for _ in groups
        ]

    async def claim(
        self, user_id: str, worker_id: str, lease_s: float, purpose: Index = Index.EVIDENCE
    ) -> bool:
        """Whether this worker reads the list of a user for the next `lease_s` seconds."""
        key = self._keys.usage_lease(purpose, user_id)
        return await claim_lease(self._client, key, worker_id, lease_s)

    # Where reconciling is switched off.

    async def reconcile_off(self) -> list[ReconcileOff]:
        """The accounts where a late row switched `reconcile` off."""
        rows: dict[bytes, bytes] = await self._client.call("HGETALL", self._keys.reconcile_off)
        found: list[ReconcileOff] = []
        for account, text in rows.items():
            try:
                found.append(_reconcile_off.decode(text))
            except DECODE_ERRORS:
                found.append(ReconcileOff(account.decode("utf-8", "replace"), 0.0, ""))
        return found

    async def switch_reconcile_off(self, why: ReconcileOff) -> bool:
        """Switch `reconcile` off for an account; whether it was on."""
        key = self._keys.reconcile_off
        return bool(await self._client.call("HSETNX", key, why.account, encode(why)))

    async def switch_reconcile_on(self, account: str) -> bool:
        """Switch `reconcile` on again; whether it was off."""
        return bool(await self._client.call("HDEL", self._keys.reconcile_off, account))
