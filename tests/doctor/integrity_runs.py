"""Runs the integrity check in tests."""

import asyncio

from worker.clock import SystemClock
from worker.doctor.integrity_check import IntegrityCheck, IntegrityReport
from worker.doctor.repair import Repairer
from worker.store import Store

LEASE_S = 10.0


async def at_once(seconds: float) -> None:
    """Return at once, after other tasks had a turn."""
    del seconds
    await asyncio.sleep(0)


async def check_integrity(store: Store, *, repair: bool = False, note: str = "") -> IntegrityReport:
    """Run the integrity check, with repairs if `repair` is set."""
    clock = SystemClock()
    repairer = Repairer(store, clock, by="ann", note=note) if repair else None
    return await IntegrityCheck(
        store, clock, lease_s=LEASE_S, repairer=repairer, pause=at_once
    ).run()


def damage_of(report: IntegrityReport) -> list[tuple[str, str, str]]:
    """Kind, job and outcome of each damage."""
    return sorted((d.kind.value, d.job_id, outcome.value) for d, outcome in report.reported)
