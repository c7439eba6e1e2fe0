"""How far the payloads of settled jobs are erased: a time for each state, instead of an index."""

import math
from dataclasses import dataclass

from jobs.indexes import Index
from jobs.states import State
from worker.store.client import Client, pairs
from worker.store.keys import Keys
from worker.store.payloads import PayloadStore


@dataclass(frozen=True, slots=True)
class ErasureBatch:
    """Jobs that came to a state before a time, the oldest first."""

    unerased: tuple[str, ...]
    """Those that still have payloads."""
    next_from: float | None
    """Where the next batch begins; None if this one was empty."""
    is_full: bool


class PayloadRetention:
    """Finds the jobs whose payloads are to be erased; each is met once, and once more after a loss.

    A job comes to the end of its state's index, so everything before a time that was reached once
    is done.
    """

    def __init__(self, client: Client, keys: Keys, payloads: PayloadStore) -> None:
        self._client = client
        self._keys = keys
        self._payloads = payloads

    async def next_batch(self, state: State, until: float, limit: int) -> ErasureBatch:
        """At most `limit` jobs that came to the state before `until` (Unix seconds)."""
        begin = await self._client.call("HGET", self._keys.payload_retention, state)
        first = float(begin) if begin is not None else -math.inf
        index, offset = self._keys.index(Index.STATE, state), 0
        while True:
            span = (first, until, "WITHSCORES", "LIMIT", offset, limit)
            rows = pairs(await self._client.call("ZRANGEBYSCORE", index, *span))
            done = await self._payloads.without_payloads([job_id for job_id, _ in rows])
            unerased = tuple(job_id for job_id, _ in rows if job_id not in done)
            is_full = len(rows) == limit
            if unerased or not is_full or rows[-1][1] != first:
                return ErasureBatch(unerased, rows[-1][1] if rows else None, is_full=is_full)
            offset += limit  # more than a batch of one time, and these are done

    async def record(self, state: State, batch: ErasureBatch) -> None:
        """Begin the next batch where this one ended."""
        if batch.next_from is not None:
            await self._client.call(
                "HSET", self._keys.payload_retention, state, repr(batch.next_from)
            )
