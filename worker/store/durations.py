"""Duration samples: the newest of each target, shared by every worker."""

from collections.abc import Mapping, Sequence
from typing import Final

from jobs.lanes import Lane, target_name
from jobs.polling.samples import MAX_SAMPLES, DurationSample, merge_samples
from worker.store.client import Client, Command
from worker.store.keys import Keys

RETENTION_S: Final = 30 * 86_400
"""Redis removes the samples of a target after so long without a run."""

TargetName = str
"""`kind/target`, as `model/gpt-image-2`: how long a run takes does not depend on the account."""


def target_of(lane: Lane) -> TargetName:
    """The target of a lane."""
    return target_name(lane.kind, lane.target)


class DurationStore:
    """One list for each target, the newest sample first."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def exchange(
        self, samples: Mapping[TargetName, Sequence[DurationSample]], targets: Sequence[TargetName]
    ) -> dict[TargetName, list[bytes]]:
        """Add samples and read the lists of targets, those included, in one round trip.

        The lists come undecoded: one that is the same as before need not be decoded again.
        """
        writes = [
            command for target, runs in samples.items() for command in self._add(target, runs)
        ]
        reads: list[Command] = [("LRANGE", self._keys.durations(t), 0, -1) for t in targets]
        replies = await self._client.many([*writes, *reads])
        return dict(zip(targets, replies[len(writes) :], strict=True))

    async def read(self, targets: Sequence[TargetName]) -> dict[TargetName, list[bytes]]:
        """Read the lists of targets in one round trip, undecoded."""
        return await self.exchange({}, targets)

    def _add(self, target: TargetName, samples: Sequence[DurationSample]) -> list[Command]:
        key = self._keys.durations(target)
        return [
            ("LPUSH", key, *(str(run) for run in samples)),
            ("LTRIM", key, 0, MAX_SAMPLES - 1),
            ("EXPIRE", key, RETENTION_S),
        ]


def decode_sketch(rows: Sequence[bytes]) -> list[DurationSample]:
    """The samples of a list, the oldest first; unreadable ones are skipped."""
    return merge_samples(run for row in rows if (run := DurationSample.parse(row)) is not None)
