"""One cell of the table: a server and an event, with two workers, an API and an app."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Generator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

import aiohttp

from tests.chaos.killable_redis import free_port
from tests.engine.live_system import wait_until
from tests.integration.time_shifted_redis import find_faketime
from tests.redis_matrix.cell_findings import CellFindings
from tests.redis_matrix.counting_app import CountingApp
from tests.redis_matrix.counting_provider import CountingProvider, counting_provider
from tests.redis_matrix.matrix_processes import kill, start_program
from tests.redis_matrix.redis_events import MatrixEvent
from tests.redis_matrix.redis_setups import redis_setup
from tests.redis_matrix.server_programs import ServerProgram
from worker.tasks import cancel_and_wait

BEFORE_S = 3.0
"""Of load, before the event."""
AFTER_S = 5.0
"""Of load, from when the server can serve."""
SETTLED_WITHIN_S = 20.0
READY_WITHIN_S = 60.0
ANSWERS_WITHIN_S = 10.0
LATER_JOBS = 10
LATER_S = 1800.0
WORKERS = 2
END_STATES = frozenset({"succeeded", "dead", "parked", "cancelled"})
SETTINGS = {
    "KNOUDS_API_KEY": "knouds_live_test",
    "KNOUDS_RETRY_BASE_S": "1",
    "KNOUDS_POLL_MAX_S": "2",
    "KNOUDS_LOG_FORMAT": "json",
    "KNOUDS_LOG_LEVEL": "warning",
}


@dataclass
class MatrixCell:
    """The running system of a cell."""

    event: MatrixEvent
    folder: Path
    app: CountingApp
    provider: CountingProvider
    processes: dict[str, BaseProcess]
    findings: CellFindings

    async def until_ready(self) -> None:
        """Wait until the API answers and reports the workers whose clocks are right."""
        workers = WORKERS - bool(self.event.clock_s)

        async def ready() -> bool:
            try:
                async with self.app.http.get(f"{self.app.url}/readyz") as answer:
                    return answer.status == 200 and (await answer.json())["workers"] >= workers
            except aiohttp.ClientError:
                return False

        async def knows_its_clock() -> bool:
            log = self.folder / "worker-2.log"
            return log.exists() and "clock.off" in log.read_text()

        await wait_until(ready, "two workers and the API are ready", READY_WITHIN_S)
        if self.event.clock_s:
            await wait_until(knows_its_clock, "worker-2 reports its clock", READY_WITHIN_S)

    async def until_settled(self, since: float) -> None:
        """Wait until every acknowledged job that has a record settled, or is parked."""
        deadline = time.monotonic() + SETTLED_WITHIN_S
        found = self.findings
        while True:
            try:
                jobs = await self.app.jobs()
            except (aiohttp.ClientError, TimeoutError, KeyError, ValueError):
                jobs = None
            if jobs is not None:
                states = Counter(
                    job["state"] for name, job in jobs.items() if name in self.app.acknowledged
                )
                found.unsettled = Counter(
                    {state: count for state, count in states.items() if state not in END_STATES}
                )
                if not found.unsettled:
                    found.settled_s = time.monotonic() - since
                    return
            if time.monotonic() > deadline:
                found.settled_s = None
                return
            await asyncio.sleep(0.3)


async def run_cell(
    program: ServerProgram, event: MatrixEvent, folder: Path, findings: CellFindings
) -> None:
    """Run one cell and fill in what was found."""
    began_at = time.monotonic()

    def ends(phase: str) -> None:
        findings.took[phase] = round(time.monotonic() - began_at - sum(findings.took.values()), 1)

    async with AsyncExitStack() as stack:
        setup = await stack.enter_async_context(redis_setup(event.setup, folder, program.path))
        ends("servers")
        provider = await stack.enter_async_context(counting_provider())
        timeout = aiohttp.ClientTimeout(total=ANSWERS_WITHIN_S)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        port = free_port()
        app = CountingApp(f"http://127.0.0.1:{port}", http)
        settings = {
            **SETTINGS,
            "KNOUDS_BASE_URL": provider.url,
            "KNOUDS_REDIS_URL": setup.url,
            "KNOUDS_HTTP_PORT": str(port),
            **dict(event.settings),
        }
        processes = stack.enter_context(_processes(settings, event, folder))
        cell = MatrixCell(event, folder, app, provider, processes, findings)
        await cell.until_ready()
        ends("processes")
        later = await app.schedule(LATER_JOBS, LATER_S) if event.clock_s else []
        stop = asyncio.Event()
        watch = asyncio.create_task(app.watch_ready(stop))
        load = asyncio.create_task(app.enqueue_until(stop))
        stack.push_async_callback(cancel_and_wait, watch, load)
        await asyncio.sleep(BEFORE_S)
        ends("before")
        can_serve_at = await event.run(setup)
        ends("event")
        await asyncio.sleep(max(0.0, can_serve_at + AFTER_S - time.monotonic()))
        stop.set()
        await asyncio.gather(watch, load)
        ends("after")
        await cell.until_settled(can_serve_at)
        ends("settling")
        await _count(cell, can_serve_at, later)
        ends("counting")
    ends("stop")


async def _count(cell: MatrixCell, can_serve_at: float, later: list[str]) -> None:
    app, found = cell.app, cell.findings
    moments = (
        app.first_acknowledged_after(can_serve_at),
        cell.provider.first_start_after(can_serve_at),
    )
    found.goes_on_s = None if None in moments else max(m for m in moments if m is not None)
    found.acknowledged = len(app.acknowledged)
    found.answers, found.ready = app.answers, app.ready
    found.refusals, found.without_retry_after = app.refusals, app.without_retry_after
    try:
        jobs = await app.jobs()
        found.lost = sorted(app.acknowledged.keys() - jobs.keys())
        found.lost_unconfirmed = len(app.unconfirmed.intersection(found.lost))
        await app.enqueue_again()
        await cell.until_settled(can_serve_at) if found.lost else None
        jobs = await app.jobs()
        found.parked = Counter(
            str(job["reason"]["code"]) for job in jobs.values() if job["state"] == "parked"
        )
    except (aiohttp.ClientError, TimeoutError, KeyError) as error:
        found.trouble = f"the API does not answer at the end: {error!r}"
    found.paid_twice = sorted(name for name, runs in cell.provider.started.items() if runs > 1)
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        await _keep_records(cell, [*found.paid_twice, *found.lost])
    found.other_inputs = cell.provider.other_inputs(app.expected)
    if later:
        found.started_early = sum(cell.provider.started[name] for name in later)
    found.ended = [name for name, one in cell.processes.items() if one.exitcode is not None]


async def _keep_records(cell: MatrixCell, names: list[str]) -> None:
    """Write the records of jobs that went wrong beside the logs, with when their runs began."""
    for name in names:
        async with cell.app.http.get(f"{cell.app.url}/v1/jobs/{name}") as answer:
            record = await answer.json()
        runs = cell.provider.runs[name]
        kept = {"record": record, "runs": runs}
        (cell.folder / f"{name}.json").write_text(json.dumps(kept, indent=1))


@contextmanager
def _processes(
    settings: dict[str, str], event: MatrixEvent, folder: Path
) -> Generator[dict[str, BaseProcess]]:
    """Two workers and the API; killed at the end."""
    shifted = {
        "LD_PRELOAD": str(find_faketime()),
        "FAKETIME": f"{event.clock_s:+d}",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    found: dict[str, BaseProcess] = {}
    try:
        for name in ("worker-1", "worker-2", "api"):
            environ = shifted if event.clock_s and name == "worker-2" else None
            found[name] = start_program(name, settings, folder, environ=environ)
        yield found
    finally:
        for process in found.values():
            kill(process)
