"""The claims that hold after every scenario, and where a doubt may come from."""

import time
from collections.abc import Callable

from jobs.job import Job
from jobs.states import State
from tests.chaos.arena import Arena, Found, Row
from tests.chaos.conftest import Report
from tests.chaos.scale import SEED


async def judged(
    arena: Arena,
    report: Report,
    scenario: str,
    disturbed: str,
    explains: Callable[[Job], bool],
) -> Found:
    """Nothing started twice, nothing lost, every place right, every doubt explained and resolved.

    `explains` tells whether something that was done to the system accounts for a doubt.
    """
    print(f"{scenario}: CHAOS_SEED={SEED}")  # noqa: T201  shown with a failure
    await arena.until_at_rest()
    found = await arena.look()
    resolved = 0
    try:
        assert found.lost == []
        assert found.started_twice == {}
        assert found.misplaced == []
        assert found.states.keys() <= {State.SUCCEEDED, State.PARKED}
        assert found.states.get(State.PARKED, 0) == len(found.uncertain)
        unexplained = [job for job in found.uncertain if not explains(job)]
        assert unexplained == [], f"{len(unexplained)} doubts, for example {unexplained[0]}"
        assert found.errors == []
        resolved = await arena.resolve(found.uncertain)
        after = await arena.look()
        assert after.states == {State.SUCCEEDED: found.jobs}
        assert after.started_twice == {}
        assert after.misplaced == []
    finally:
        seconds = time.monotonic() - arena.began
        report(Row(scenario, disturbed, SEED, seconds, found, resolved))
    return found


def worker_of(job: Job) -> int:
    """The process that last had a job in hand."""
    owners = [event.by for event in job.events if event.name in ("send", "open")]
    return int(owners[-1].split("-")[-2]) if owners else 0
