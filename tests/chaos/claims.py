"""The claims that every scenario checks, and which uncertain jobs it may leave."""

import time
from collections.abc import Callable

from jobs.credits.charges import Measure
from jobs.job import Job
from jobs.states import State
from tests.chaos.chaos_system import ChaosFindings, ChaosSystem, ScenarioRow
from tests.chaos.conftest import Report
from tests.chaos.scale import SEED
from tests.engine.ledger_books import charged_by_sandbox, read_all_costs, total_of
from tests.engine.live_system import LiveSystem


async def check_claims(
    chaos: ChaosSystem,
    report: Report,
    scenario: str,
    disturbed: str,
    explains: Callable[[Job], bool],
    *,
    may_lose_inputs: bool = False,
) -> ChaosFindings:
    """Nothing started twice or lost, every index right, every uncertain job explained and resolved.

    `explains` returns whether the disturbance can have made a job uncertain. `may_lose_inputs`:
    Redis may have lost the inputs of jobs, which the app then enqueued again.
    """
    print(f"{scenario}: CHAOS_SEED={SEED}")  # noqa: T201  shown with a failure
    await chaos.until_settled_or_parked()
    found = await chaos.inspect()
    resolved = 0
    try:
        assert found.lost == []
        assert found.started_without_inputs == []
        assert found.started_twice == {}
        assert found.wrong_indexes == []
        assert found.states.keys() <= {State.SUCCEEDED, State.PARKED}
        assert found.states.get(State.PARKED, 0) == len(found.uncertain) + len(found.inputs_lost)
        assert may_lose_inputs or not found.inputs_lost
        unexplained = [job for job in found.uncertain if not explains(job)]
        assert unexplained == [], (
            f"{len(unexplained)} unexplained jobs, for example {unexplained[0]}"
        )
        errors = [line for line in found.errors if "job.inputs_lost" not in line]
        unexpected = errors if may_lose_inputs else found.errors
        assert unexpected == [], "\n".join(unexpected)
        resolved = await chaos.resolve(found.uncertain)
        await chaos.release(found.inputs_lost)
        after = await chaos.inspect()
        assert after.states == {State.SUCCEEDED: found.jobs}
        assert after.started_twice == {}
        assert after.wrong_indexes == []
        await check_ledger(chaos.system)
    finally:
        seconds = time.monotonic() - chaos.began
        report(ScenarioRow(scenario, disturbed, SEED, seconds, found, resolved))
    return found


async def check_ledger(system: LiveSystem) -> None:
    """The ledger equals the sandbox's books, once the list of runs was read for all costs."""
    await read_all_costs(system)
    expected = await charged_by_sandbox(system)
    assert await total_of(system, Measure.ESTIMATED) == 0
    assert await total_of(system, Measure.UNKNOWN) == 0
    assert await total_of(system, Measure.CREDITS) == expected


def last_worker_pid(job: Job) -> int:
    """The process id of the last worker that submitted a job; 0 if none did."""
    owners = [event.by for event in job.events if event.name in ("send", "open")]
    return int(owners[-1].split("-")[-2]) if owners else 0
