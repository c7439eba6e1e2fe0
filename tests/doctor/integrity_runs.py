"""Taking a census in a test."""

import asyncio

from worker.clock import SystemClock
from worker.doctor.integrity_check import IntegrityCheck, IntegrityReport
from worker.doctor.repair import Repairer
from worker.store import Store

LEASE_S = 10.0


async def at_once(seconds: float) -> None:
    """A pause that only lets the others run."""
    del seconds
    await asyncio.sleep(0)


async def check_integrity(store: Store, *, repair: bool = False, note: str = "") -> IntegrityReport:
    """Count, and repair where wanted."""
    clock = SystemClock()
    mender = Repairer(store, clock, by="ann", note=note) if repair else None
    return await IntegrityCheck(store, clock, lease_s=LEASE_S, repairer=mender, pause=at_once).run()


def damage_of(report: IntegrityReport) -> list[tuple[str, str, str]]:
    """Kind, job and outcome of each damage."""
    return sorted((d.kind.value, d.job_id, outcome.value) for d, outcome in report.reported)
