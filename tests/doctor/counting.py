"""Taking a census in a test."""

import asyncio

from worker.clock import SystemClock
from worker.doctor.integrity_check import Census, Report
from worker.doctor.repair import Mender
from worker.store import Store

LEASE_S = 10.0


async def at_once(seconds: float) -> None:
    """A pause that only lets the others run."""
    del seconds
    await asyncio.sleep(0)


async def census(store: Store, *, repair: bool = False, note: str = "") -> Report:
    """Count, and repair where wanted."""
    clock = SystemClock()
    mender = Mender(store, clock, by="ann", note=note) if repair else None
    return await Census(store, clock, lease_s=LEASE_S, mender=mender, pause=at_once).run()


def told(report: Report) -> list[tuple[str, str, str]]:
    """Kind, job and outcome of each damage."""
    return sorted((d.kind.value, d.job_id, outcome.value) for d, outcome in report.told)
