"""Credits run out under 1,000 queued jobs: how many submits are spent on it.

    python -m bench.hold_cost

The 130th job takes the last credits. An operator releases the hold while the cause persists (a
relapse), tops up, and releases again. One worker; counted by the sandbox.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from bench import results
from bench.bench_system import BenchSystem, bench_system
from bench.sandbox_admin import admin_get, admin_post
from jobs.holds import apply_release
from jobs.requests import JobRequest
from jobs.states import Kind, State
from worker.app.enqueue import Enqueuer, JobDefaults
from worker.clock import SystemClock

RUNS: Final = 1_000
PAID: Final = 130
PRICE: Final = 8
INPUTS: Final = b'{"sandbox": {"duration_s": 0.5, "fault": "slow", "delay_s": 0.2}}'
"""A submit is answered after 0.2 s: many are under way when the first 402 comes."""

POLL_S: Final = 0.05
QUIET_S: Final = 3.0
WITHIN_S: Final = 120.0


async def submits(bench: BenchSystem) -> dict[str, int]:
    """Submits by the status of their answer."""
    found: dict[str, int] = (await admin_get(bench.sandbox, "ledger"))["requests"].get(
        "run.model", {}
    )
    return found


async def top_up(bench: BenchSystem, credits_: int) -> None:
    """Set the account's balance, in credits."""
    await admin_post(bench.sandbox, "topup", {"balance": credits_})


async def release(bench: BenchSystem) -> None:
    """Release the hold, as an operator does."""
    (hold,) = await bench.store.holds.list_all()
    await bench.store.holds.change(
        hold.key, lambda standing: standing and apply_release(standing, time.time(), by="bench")
    )


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + WITHIN_S
    while not await done() and time.monotonic() < ends:  # noqa: ASYNC110
        await asyncio.sleep(POLL_S)


async def main() -> None:
    """Measure and print."""
    rows: dict[str, float] = {}
    async with bench_system() as bench:
        await top_up(bench, PAID * PRICE)
        enqueuer = Enqueuer(bench.store, SystemClock(), JobDefaults())
        await enqueuer.enqueue_many([(None, JobRequest(Kind.MODEL, "gpt-image-2", INPUTS))] * RUNS)

        async def held() -> bool:
            return bool(await bench.store.holds.list_all())

        await until(held)
        rows["refused_when_the_hold_stood"] = (await submits(bench)).get("402", 0)
        await asyncio.sleep(QUIET_S)
        refused = (await submits(bench)).get("402", 0)
        rows["refused_in_all"] = refused
        rows["slots"] = bench.settings.max_jobs
        states = (await bench.store.read.queries.state_counts())[0]
        rows["parked"], rows["queued"] = states[State.PARKED], states[State.QUEUED]

        await release(bench)
        await asyncio.sleep(QUIET_S)
        rows["spent_by_a_release_while_the_cause_persists"] = (await submits(bench)).get(
            "402", 0
        ) - refused
        rows["relapses"] = (await bench.store.holds.list_all())[0].relapses

        await top_up(bench, RUNS * PRICE)
        started = time.monotonic()
        await release(bench)

        async def done() -> bool:
            return (await bench.store.read.queries.state_counts())[0][State.QUEUED] == 0

        await until(done)
        rows["seconds_until_the_line_was_empty"] = time.monotonic() - started
        rows["refused_after_the_top_up"] = (
            (await submits(bench)).get("402", 0)
            - refused
            - rows["spent_by_a_release_while_the_cause_persists"]
        )
    results.table({"one worker": rows}, "credits run out")
    results.as_json("holds", {"rows": rows})


if __name__ == "__main__":
    asyncio.run(main())
