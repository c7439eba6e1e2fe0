"""The demo's course: arrange, send, watch until everything has ended, and tell what to do now."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from worker.cli.api_client import Api, connected
from worker.cli.exit_codes import Failure
from worker.cli.up.demo.progress import Progress, progress
from worker.cli.up.demo.report import show_outcome, show_remedies
from worker.cli.up.demo.scenarios import SCENES, Scene
from worker.cli.up.demo.setup import Stage

Doc = dict[str, Any]

END_WITHIN_S: Final = 60.0
LOOK_EVERY_S: Final = 0.25
REFUSED_FROM: Final = 400


async def play(stage: Stage) -> bool:
    """Play every scene; True when each job ended where it must."""
    await stage.arrange()
    async with connected(stage.url, stage.token) as api:
        await _send(api, stage)
        with progress(stage, SCENES) as shown:
            jobs = await _watch(api, stage, shown)
        await show_remedies(stage, SCENES, jobs)
    return show_outcome(SCENES, jobs)


async def _send(api: Api, stage: Stage) -> None:
    orders = [stage.order(scene) for scene in SCENES]
    answer = await api.send("jobs", "bulk", body={"jobs": orders})
    for scene, result in zip(SCENES, answer.doc["results"], strict=True):
        if int(result["status"]) >= REFUSED_FROM:
            error: Doc = result.get("error") or {}
            raise Failure(f"the demo's job {scene.name} was refused: {error.get('detail')}")


async def _watch(api: Api, stage: Stage, shown: Progress) -> dict[str, Doc]:
    """Look until every job has ended, or time is up; returns the jobs by the scene's name."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + END_WITHIN_S
    jobs: dict[str, Doc] = {}
    cancelled: set[str] = set()
    while True:
        jobs = await _look(api, stage)
        shown.saw(jobs)
        if _have_ended(jobs) or clock() >= deadline:
            return jobs
        await _cancel(api, stage, jobs, cancelled)
        await asyncio.sleep(LOOK_EVERY_S)


async def _look(api: Api, stage: Stage) -> dict[str, Doc]:
    answer = await api.get("jobs", query={"batch": stage.batch, "limit": 500})
    by_id = {str(job["id"]): job for job in answer.doc["items"]}
    names = {scene.name: stage.job_id(scene) for scene in SCENES}
    return {name: by_id[job_id] for name, job_id in names.items() if job_id in by_id}


def _have_ended(jobs: Mapping[str, Doc]) -> bool:
    return all(scene.name in jobs and scene.end.fits(jobs[scene.name]) for scene in SCENES)


async def _cancel(api: Api, stage: Stage, jobs: Mapping[str, Doc], cancelled: set[str]) -> None:
    for scene in SCENES:
        if scene.cancels and scene.name not in cancelled and _runs(scene, jobs):
            body = {"note": "the demo shows it"}
            await api.post("jobs", stage.job_id(scene), "cancel", body=body)
            cancelled.add(scene.name)


def _runs(scene: Scene, jobs: Mapping[str, Doc]) -> bool:
    return scene.name in jobs and jobs[scene.name]["state"] == "running"
