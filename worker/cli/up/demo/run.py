"""The demo: prepare the sandbox, enqueue the jobs, wait until they have ended, and report."""

import asyncio
from collections.abc import Mapping
from typing import Final

from worker.cli.api_client import ApiClient, open_client
from worker.cli.client_session import STATUS_ERROR
from worker.cli.exit_codes import CommandFailure
from worker.cli.text import Doc
from worker.cli.up.demo.progress import LineProgress, LiveProgress, progress
from worker.cli.up.demo.report import show_remedies, show_results
from worker.cli.up.demo.scenarios import SCENARIOS
from worker.cli.up.demo.setup import DemoSetup

DEMO_TIMEOUT_S: Final = 60.0
POLL_INTERVAL_S: Final = 0.25


async def run_demo(setup: DemoSetup) -> bool:
    """Run every scenario; returns whether each job ended as expected."""
    await setup.prepare_sandbox()
    async with open_client(setup.url, setup.token) as api:
        await _send(api, setup)
        with progress(setup, SCENARIOS) as view:
            jobs = await _poll_until_ended(api, setup, view)
        await show_remedies(setup, SCENARIOS, jobs)
    return show_results(SCENARIOS, jobs)


async def _send(api: ApiClient, setup: DemoSetup) -> None:
    requests = [setup.job_request(scenario) for scenario in SCENARIOS]
    response = await api.post_idempotent("jobs", "bulk", body={"jobs": requests})
    for scenario, result in zip(SCENARIOS, response.doc["results"], strict=True):
        if int(result["status"]) >= STATUS_ERROR:
            error: Doc = result.get("error") or {}
            raise CommandFailure(
                f"the demo's job {scenario.name} was refused: {error.get('detail')}"
            )


async def _poll_until_ended(
    api: ApiClient, setup: DemoSetup, view: LiveProgress | LineProgress
) -> dict[str, Doc]:
    """Poll until every job has ended, or `DEMO_TIMEOUT_S`; returns the jobs by scenario name."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + DEMO_TIMEOUT_S
    cancelled: set[str] = set()
    while True:
        jobs = await _poll_jobs(api, setup)
        view.show_jobs(jobs)
        have_ended = all(s.name in jobs and s.end.matches(jobs[s.name]) for s in SCENARIOS)
        if have_ended or clock() >= deadline:
            return jobs
        await _cancel_running(api, setup, jobs, cancelled)
        await asyncio.sleep(POLL_INTERVAL_S)


async def _poll_jobs(api: ApiClient, setup: DemoSetup) -> dict[str, Doc]:
    response = await api.get("jobs", query={"batch": setup.batch, "limit": 500})
    by_id = {str(job["id"]): job for job in response.doc["items"]}
    names = {scenario.name: setup.job_id(scenario) for scenario in SCENARIOS}
    return {name: by_id[job_id] for name, job_id in names.items() if job_id in by_id}


async def _cancel_running(
    api: ApiClient, setup: DemoSetup, jobs: Mapping[str, Doc], cancelled: set[str]
) -> None:
    for scenario in SCENARIOS:
        name = scenario.name
        is_running = name in jobs and jobs[name]["state"] == "running"
        if scenario.is_cancelled and is_running and name not in cancelled:
            body = {"note": "part of the demo"}
            await api.post("jobs", setup.job_id(scenario), "cancel", body=body)
            cancelled.add(name)
