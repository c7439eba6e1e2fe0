"""Findings about uncertain submits, from the sandbox's list over HTTP to the job's record."""

from typing import Any

from jobs.evidence.records import EvidenceFinding
from jobs.states import OnUncertain, State
from tests.engine.live_system import OPERATOR, LiveSystem, wait_until
from worker.app.action_table import JobAction
from worker.app.evidence_actions import EvidenceActions
from worker.clock import SystemClock

GRACE = {"evidence_grace_s": 1.0, "sync_timeout_s": 12.0}


async def until_found(system: LiveSystem, job_id: str, finding: EvidenceFinding) -> Any:
    async def is_found() -> bool:
        return (await system.job(job_id)).finding is finding

    await wait_until(is_found, f"{job_id} is {finding}", 30)
    return await system.job(job_id)


async def lose(system: LiveSystem, label: str, fault: str, **options: Any) -> str:
    """A job whose submit is lost: `drop_after` started its run, `drop_before` did not."""
    return await system.enqueue("suno", job_id=label, fault=fault, times=1, **options)


async def test_the_list_tells_what_started_and_what_did_not(system: LiveSystem) -> None:
    """Two uncertain submits of two models, each with a later run that has its row."""
    async with system.worker(**GRACE):
        await system.until(await system.enqueue("suno", job_id="early"))
        lost = await lose(system, "lost", "drop_before")
        await system.until(lost, State.PARKED)
        ran = await system.enqueue("gpt-image-2", job_id="ran", fault="drop_after", times=1)
        await system.until(ran, State.PARKED)
        await system.all_until(
            [
                await system.enqueue("suno", job_id="later"),
                await system.enqueue("gpt-image-2", job_id="later-2"),
            ]
        )
        not_started = await until_found(system, lost, EvidenceFinding.NOT_STARTED)
        started = await until_found(system, ran, EvidenceFinding.STARTED)
    assert not_started.state is started.state is State.PARKED
    (row,) = started.uncertain_submits[-1].rows
    assert (row.targets, row.credits) == (("gpt-image-2",), 8)
    assert started.uncertain_submits[-1].sent_as.user_id == "user_sandbox"


async def test_reconcile_sends_again_exactly_what_did_not_start(system: LiveSystem) -> None:
    async with system.worker(**GRACE):
        await system.until(await system.enqueue("suno", job_id="early"))
        lost = await lose(system, "lost", "drop_before", on_uncertain=OnUncertain.RECONCILE)
        ran = await lose(system, "ran", "drop_after", on_uncertain=OnUncertain.RECONCILE)
        await system.all_until([lost, ran], State.RETRYING)
        await system.until(await system.enqueue("gpt-image-2", job_id="later"))
        parked = await system.all_until([lost, ran], State.PARKED, within_s=30)
    assert {job.finding for job in parked} == {EvidenceFinding.AMBIGUOUS}
    assert (await system.ledger("lost"))["started"] == 0
    assert (await system.ledger("ran"))["started"] == 1


async def test_a_job_under_reconcile_waits_and_then_succeeds(system: LiveSystem) -> None:
    async with system.worker(**GRACE):
        await system.until(await system.enqueue("suno", job_id="early"))
        lost = await lose(system, "lost", "drop_before", on_uncertain=OnUncertain.RECONCILE)
        waiting = await system.until(lost, State.RETRYING)
        assert waiting.spent == 0
        await system.until(await system.enqueue("suno", job_id="later"))
        done = await system.until(lost, State.SUCCEEDED, within_s=30)
    assert [a.outcome for a in done.attempts] == ["uncertain", "succeeded"]
    assert done.uncertain_submits[0].finding is EvidenceFinding.NOT_STARTED
    assert (await system.ledger("lost"))["started"] == 1


async def test_a_late_row_switches_reconcile_off(system: LiveSystem) -> None:
    """Its run started after all, and its row came after the grace: nothing more is sent again."""
    async with system.worker(**GRACE):
        await system.until(await system.enqueue("suno", job_id="early"))
        lost = await system.enqueue(
            "suno",
            job_id="lost",
            fault="drop_after",
            times=1,
            usage={"late_s": 6},
            on_uncertain=OnUncertain.RECONCILE,
        )
        await system.until(lost, State.RETRYING)
        await system.until(await system.enqueue("suno", job_id="later"))
        await system.until(lost, State.SUCCEEDED, within_s=30)
        stored = await system.store.jobs.load(lost)
        assert stored is not None
        assert (await system.ledger("lost"))["started"] == 2

        async def is_off() -> bool:
            await _check_now(system, lost)
            return bool(await system.store.evidence.reconcile_off())

        await wait_until(is_off, "reconcile is off", 30)
    (why,) = await system.store.evidence.reconcile_off()
    assert (why.account, why.job_id) == ("default", lost)


async def _check_now(system: LiveSystem, job_id: str) -> None:
    """Read the list again for a job at once, instead of when it is next due."""
    await EvidenceActions(system.store, SystemClock()).read_again([job_id])


async def test_a_list_that_cannot_be_read_is_unknown_and_parks_nothing_wrongly(
    system: LiveSystem,
) -> None:
    await system.sandbox_admin("faults", fault="HTTP_403", match={"route": "usage"})
    async with system.worker(**GRACE):
        lost = await lose(system, "lost", "drop_before", on_uncertain=OnUncertain.RECONCILE)
        job = await until_found(system, lost, EvidenceFinding.UNKNOWN)
        assert "403" in job.uncertain_submits[-1].note
        assert job.state is State.RETRYING
        parked = await system.actions.act(JobAction.PARK, lost, OPERATOR)
        assert parked.parked_as == "uncertain"
