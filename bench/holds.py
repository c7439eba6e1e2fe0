"""Credits run out under 1,000 queued jobs: how many submits are spent on it.

    python -m bench.holds

The 130th job takes the last credits. A person releases the hold while the cause persists (a
relapse), tops up, and releases again. One worker; counted by the sandbox.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from bench import printing
from bench.asking import ask, tell
from bench.running import Bench, system
from jobs.holds import released
from jobs.requests import Order
from jobs.states import Kind, State
from worker.app.enqueue import Defaults, Intake
from worker.clock import SystemClock

RUNS: Final = 1_000
PAID: Final = 130
PRICE: Final = 8
INPUTS: Final = b'{"sandbox": {"duration_s": 0.5, "fault": "slow", "delay_s": 0.2}}'
"""A submit is answered after 0.2 s: many are under way when the first 402 comes."""

LOOK_S: Final = 0.05
QUIET_S: Final = 3.0
WITHIN_S: Final = 120.0


async def submits(bench: Bench) -> dict[str, int]:
    """Submits by the status of their answer."""
    found: dict[str, int] = (await ask(bench.sandbox, "ledger"))["requests"].get("run.model", {})
    return found


async def top_up(bench: Bench, credits_: int) -> None:
    """Give the account its credits."""
    await tell(bench.sandbox, "topup", {"balance": credits_})


async def release(bench: Bench) -> None:
    """A person releases the hold."""
    (hold,) = await bench.store.gates.holds()
    await bench.store.gates.change(
        hold.key, lambda standing: standing and released(standing, time.time(), by="bench")
    )


async def until(done: Callable[[], Awaitable[bool]]) -> None:
    """Wait until something is so."""
    ends = time.monotonic() + WITHIN_S
    while not await done() and time.monotonic() < ends:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)


async def main() -> None:
    """Measure and print."""
    rows: dict[str, float] = {}
    async with system() as bench:
        await top_up(bench, PAID * PRICE)
        intake = Intake(bench.store, SystemClock(), Defaults())
        await intake.enqueue_many([(None, Order(Kind.MODEL, "gpt-image-2", INPUTS))] * RUNS)

        async def held() -> bool:
            return bool(await bench.store.gates.holds())

        await until(held)
        rows["refused_when_the_hold_stood"] = (await submits(bench)).get("402", 0)
        await asyncio.sleep(QUIET_S)
        refused = (await submits(bench)).get("402", 0)
        rows["refused_in_all"] = refused
        rows["slots"] = bench.settings.max_jobs
        states = (await bench.store.queries.states())[0]
        rows["parked"], rows["queued"] = states[State.PARKED], states[State.QUEUED]

        await release(bench)
        await asyncio.sleep(QUIET_S)
        rows["spent_by_a_release_while_the_cause_persists"] = (await submits(bench)).get(
            "402", 0
        ) - refused
        rows["relapses"] = (await bench.store.gates.holds())[0].relapses

        await top_up(bench, RUNS * PRICE)
        began = time.monotonic()
        await release(bench)

        async def done() -> bool:
            return (await bench.store.queries.states())[0][State.QUEUED] == 0

        await until(done)
        rows["seconds_until_the_line_was_empty"] = time.monotonic() - began
        rows["refused_after_the_top_up"] = (
            (await submits(bench)).get("402", 0)
            - refused
            - rows["spent_by_a_release_while_the_cause_persists"]
        )
    printing.table({"one worker": rows}, "credits run out")
    printing.as_json("holds", {"rows": rows})


if __name__ == "__main__":
    asyncio.run(main())
