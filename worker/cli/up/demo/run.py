"""The demo's course: arrange, send, watch until everything has ended, and tell what to do now."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from worker.cli.api_client import ApiClient, open_client
from worker.cli.exit_codes import CommandFailure
from worker.cli.up.demo.progress import Progress, progress
from worker.cli.up.demo.report import show_remedies, show_results
from worker.cli.up.demo.scenarios import SCENARIOS, DemoScenario
from worker.cli.up.demo.setup import DemoSetup

Doc = dict[str, Any]

DEMO_TIMEOUT_S: Final = 60.0
POLL_INTERVAL_S: Final = 0.25
MIN_ERROR_STATUS: Final = 400


async def run_demo(setup: DemoSetup) -> bool:
    """Play every scene; True when each job ended where it must."""
    await setup.prepare_sandbox()
    async with open_client(setup.url, setup.token) as api:
        await _send(api, setup)
        with progress(setup, SCENARIOS) as shown:
            jobs = await _poll_until_ended(api, setup, shown)
        await show_remedies(setup, SCENARIOS, jobs)
    return show_results(SCENARIOS, jobs)


async def _send(api: ApiClient, setup: DemoSetup) -> None:
    orders = [setup.job_request(scene) for scene in SCENARIOS]
    answer = await api.post_idempotent("jobs", "bulk", body={"jobs": orders})
    for scene, result in zip(SCENARIOS, answer.doc["results"], strict=True):
        if int(result["status"]) >= MIN_ERROR_STATUS:
            error: Doc = result.get("error") or {}
            raise CommandFailure(f"the demo's job {scene.name} was refused: {error.get('detail')}")


async def _poll_until_ended(
    api: ApiClient, setup: DemoSetup, progress_view: Progress
) -> dict[str, Doc]:
    """Look until every job has ended, or time is up; returns the jobs by the scene's name."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + DEMO_TIMEOUT_S
    jobs: dict[str, Doc] = {}
    cancelled: set[str] = set()
    while True:
        jobs = await _poll_jobs(api, setup)
        progress_view.show_jobs(jobs)
        if _have_ended(jobs) or clock() >= deadline:
            return jobs
        await _cancel_running(api, setup, jobs, cancelled)
        await asyncio.sleep(POLL_INTERVAL_S)


async def _poll_jobs(api: ApiClient, setup: DemoSetup) -> dict[str, Doc]:
    answer = await api.get("jobs", query={"batch": setup.batch, "limit": 500})
    by_id = {str(job["id"]): job for job in answer.doc["items"]}
    names = {scene.name: setup.job_id(scene) for scene in SCENARIOS}
    return {name: by_id[job_id] for name, job_id in names.items() if job_id in by_id}


def _have_ended(jobs: Mapping[str, Doc]) -> bool:
    return all(scene.name in jobs and scene.end.matches(jobs[scene.name]) for scene in SCENARIOS)


async def _cancel_running(
    api: ApiClient, setup: DemoSetup, jobs: Mapping[str, Doc], cancelled: set[str]
) -> None:
    for scene in SCENARIOS:
        if scene.is_cancelled and scene.name not in cancelled and _is_running(scene, jobs):
            body = {"note": "the demo shows it"}
            await api.post("jobs", setup.job_id(scene), "cancel", body=body)
            cancelled.add(scene.name)


def _is_running(scenario: DemoScenario, jobs: Mapping[str, Doc]) -> bool:
    return scenario.name in jobs and jobs[scenario.name]["state"] == "running"
