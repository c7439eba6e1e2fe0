"""The payloads of jobs, inputs and results, in the hashes beside the records."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
import structlog

from jobs.payloads import MissingPayload
from worker.store.client import Client, texts
from worker.store.commit import ERASED_AT
from worker.store.keys import Keys
from worker.store.payload_cipher import PayloadCipher, UnreadablePayload
from worker.store.scripts import Scripts
from worker.store.side_writes import SideWrites

log: Final = structlog.get_logger(__name__)

INPUTS: Final = "inputs"
RESULT: Final = "result"
METADATA: Final = "metadata"
"""Fields of a job's hash."""


@dataclass(frozen=True, slots=True)
class StoredPayloads:
    """Inputs and result of a job (JSON text); None for what is not there or cannot be read."""

    inputs: bytes | None = field(repr=False)
    result: bytes | None = field(repr=False)
    inputs_problem: MissingPayload | None = None
    """Why there are no inputs."""
    result_problem: MissingPayload | None = None
    """Why there is no result; None also for a job that has none yet."""
    metadata: bytes | None = field(default=None, repr=False)
    """What its app gave it; None where it gave none, or that cannot be read any more."""


class PayloadStore:
    """Reads and encrypts the payloads of one namespace."""

    def __init__(self, client: Client, keys: Keys, scripts: Scripts, cipher: PayloadCipher) -> None:
        self.client = client
        self.keys = keys
        self.cipher = cipher
        self._scripts = scripts
        self.lacking: frozenset[str] = frozenset()
        """The ids of keys that other processes encrypt under and this one does not have."""

    def place(self, job_id: str, name: str) -> str:
        """What authenticates a payload of a job: its key and its field in Redis."""
        return f"{self.keys.job(job_id)}:{name}"

    def sealed(self, job_id: str, side_writes: SideWrites) -> SideWrites:
        """The side writes as they are stored."""
        if not self.cipher.is_active:
            return side_writes

        def seal(name: str, value: bytes | None) -> bytes | None:
            return None if value is None else self.cipher.seal(self.place(job_id, name), value)

        given = side_writes.inputs, side_writes.result, side_writes.metadata
        if given == (None, None, None):
            return side_writes
        inputs, result, metadata = map(seal, (INPUTS, RESULT, METADATA), given)
        return replace(side_writes, inputs=inputs, result=result, metadata=metadata)

    def opened(
        self, job_id: str, name: str, stored: bytes | None, erased_at: bytes | None
    ) -> bytes | MissingPayload:
        """A payload as it was given, or why it is not there."""
        if stored is None:
            return MissingPayload.LOST if erased_at is None else MissingPayload.ERASED
        try:
            opened = self.cipher.open(self.place(job_id, name), stored)
        except UnreadablePayload as error:
            log.error("payload.unreadable", job_id=job_id, field=name, key_id=error.key_id)  # noqa: TRY400
            return MissingPayload.KEY_LOST
        if opened is stored and not _is_payload(name, stored):
            log.error("payload.damaged", job_id=job_id, field=name)
            return MissingPayload.LOST
        return opened

    async def read(self, job_id: str) -> StoredPayloads:
        """Inputs, result and metadata of a job."""
        ((stored_inputs, stored_result, stored_metadata, erased),) = await self._fields(
            [job_id], INPUTS, RESULT, METADATA, ERASED_AT
        )
        inputs = self.opened(job_id, INPUTS, stored_inputs, erased)
        result = self.opened(job_id, RESULT, stored_result, erased)
        return StoredPayloads(
            None if isinstance(inputs, MissingPayload) else inputs,
            None if isinstance(result, MissingPayload) else result,
            inputs if isinstance(inputs, MissingPayload) else None,
            result
            if isinstance(result, MissingPayload) and result is not MissingPayload.LOST
            else None,
            self._opened_metadata(job_id, stored_metadata),
        )

    async def metadata(self, job_ids: Sequence[str]) -> dict[str, bytes]:
        """The metadata of jobs (JSON text), of those where it is there and can be read."""
        if not job_ids:
            return {}
        rows = await self._fields(job_ids, METADATA)
        opened = [
            (job_id, self._opened_metadata(job_id, stored))
            for job_id, (stored,) in zip(job_ids, rows, strict=True)
        ]
        return {job_id: found for job_id, found in opened if found is not None}

    def _opened_metadata(self, job_id: str, stored: bytes | None) -> bytes | None:
        """What was stored, if that is a JSON object."""
        opened = None if stored is None else self.opened(job_id, METADATA, stored, None)
        return None if isinstance(opened, MissingPayload) else opened

    async def size_bytes(self, job_id: str) -> int:
        """How much is stored of the inputs and the result of a job."""
        return (await self.sizes([job_id]))[0]

    async def sizes(self, job_ids: Sequence[str]) -> list[int]:
        """How much is stored of the inputs and the result of each job, in bytes."""
        keys = [self.keys.job(job_id) for job_id in job_ids]
        found = await self.client.many(
            [("HSTRLEN", key, name) for key in keys for name in (INPUTS, RESULT)]
        )
        return [inputs + result for inputs, result in zip(found[::2], found[1::2], strict=True)]

    async def missing_inputs(self, job_ids: Sequence[str]) -> dict[str, MissingPayload]:
        """The jobs that have no inputs to send, and why."""
        rows = await self._fields(job_ids, INPUTS, ERASED_AT)
        found: dict[str, MissingPayload] = {}
        for job_id, (inputs, erased) in zip(job_ids, rows, strict=True):
            opened = self.opened(job_id, INPUTS, inputs, erased)
            if isinstance(opened, MissingPayload):
                found[job_id] = opened
        return found

    async def erased(self, job_ids: Sequence[str]) -> set[str]:
        """The jobs whose inputs were erased."""
        keys = [self.keys.job(job_id) for job_id in job_ids]
        calls = [("HEXISTS", key, name) for key in keys for name in (ERASED_AT, INPUTS)]
        found = await self.client.many(calls)
        marks = zip(job_ids, found[::2], found[1::2], strict=True)
        return {job_id for job_id, is_erased, has_inputs in marks if is_erased and not has_inputs}

    async def without_payloads(self, job_ids: Sequence[str]) -> set[str]:
        """The jobs that have neither inputs nor a result."""
        keys = [self.keys.job(job_id) for job_id in job_ids]
        calls = [("HEXISTS", key, name) for key in keys for name in (INPUTS, RESULT)]
        found = await self.client.many(calls)
        marks = zip(job_ids, found[::2], found[1::2], strict=True)
        return {job_id for job_id, has_inputs, has_result in marks if not has_inputs | has_result}

    async def delete_arq_entries(self, job_ids: Sequence[str]) -> None:
        """Delete what arq holds of jobs that an app enqueued with plain arq under these ids."""
        names = (self.keys.arq_job, self.keys.arq_result)
        await self.client.call("DEL", *(name(job_id) for job_id in job_ids for name in names))

    async def report_key(self) -> None:
        """Report the key that encrypts here, before anything is encrypted under it."""
        await self.client.call("HSET", self.keys.payload_keys, self.cipher.first_key_id, 1)

    async def find_lacking(self) -> frozenset[str]:
        """The ids of reported keys that this process does not have; `lacking` is then the same."""
        reported = texts(await self.client.call("HKEYS", self.keys.payload_keys))
        self.lacking = frozenset(reported).difference(self.cipher.key_ids)
        return self.lacking

    async def forget_keys(self, ids: Collection[str]) -> int:
        """Forget keys that nothing is encrypted under, or that are lost; returns how many."""
        found: int = await self.client.call("HDEL", self.keys.payload_keys, *sorted(ids))
        return found

    async def replace(self, key: str, name: str, expected: bytes, value: bytes) -> bool:
        """Write a field anew if it still is what was read; returns whether it was."""
        return await self._scripts.swap(key, name, expected, value)

    async def _fields(self, job_ids: Sequence[str], *names: str) -> list[list[Any]]:
        return await self.client.many([("HMGET", self.keys.job(one), *names) for one in job_ids])


def _is_payload(name: str, plain: bytes) -> bool:
    """Whether a value that is not encrypted can be what was written.

    Inputs and metadata are JSON objects.
    """
    if name == RESULT:
        return bool(plain)
    try:
        _INPUTS.decode(plain)
    except msgspec.DecodeError:
        return False
    return True


_INPUTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
