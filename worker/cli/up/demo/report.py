"""The end of the demo: what waits for a person, with the command for each; then the verdict."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from worker.cli.next_steps import UNCERTAIN, free_job
from worker.cli.output import columns, show, text
from worker.cli.text import command
from worker.cli.up.demo.scenarios import Scene, end_of
from worker.cli.up.demo.setup import Stage

Doc = dict[str, Any]


async def show_remedies(stage: Stage, scenes: Sequence[Scene], jobs: Mapping[str, Doc]) -> None:
    """Print each job that waits for a person: why, what to do, and the exact commands."""
    show(text("\nThese wait for you; nothing else frees them:", "bold"))
    for scene in scenes:
        job = jobs.get(scene.name)
        if job is None or job["state"] not in ("parked", "dead"):
            continue
        reason: Doc = job.get("reason") or {}
        lines = await commands_for(stage, scene, job)
        show(
            text(f"\n{scene.name}: {reason.get('code')} – {reason.get('message')}", "yellow"),
            text(f"  {reason.get('action')}"),
            *(text(f"  $ {line}", "bold") for line in lines),
            whole=True,  # a command that is broken in two cannot be copied
        )


async def commands_for(stage: Stage, scene: Scene, job: Doc) -> list[str]:
    """What to type, in this order: clear the cause in the sandbox, then free the job."""
    job_id = str(job["id"])
    reason: Doc = job.get("reason") or {}
    remedy = scene.remedy
    if remedy is not None and remedy.inputs is not None:
        return [command("dead", "requeue", job_id, "--inputs", json.dumps(remedy.inputs))]
    if reason.get("code") == UNCERTAIN:
        execution = await stage.execution_of(job_id)
        if execution is not None:
            return [command("parked", "resolve", job_id, "--execution-id", execution)]
    free = free_job(job)[:1]
    return free if remedy is None else [stage.admin_command(remedy.path, remedy.body), *free]


def show_outcome(scenes: Sequence[Scene], jobs: Mapping[str, Doc]) -> bool:
    """Print job → expected → got; True when all are the same."""
    table = columns("JOB", "EXPECTED", "GOT", "")
    right = 0
    for scene in scenes:
        job = jobs.get(scene.name)
        fits = job is not None and scene.end.fits(job)
        right += fits
        table.add_row(
            text(scene.name),
            text(scene.end),
            text(_got(scene, job)),
            text("ok" if fits else "NO", "green" if fits else "bold red"),
        )
    show(text(""), table, text(f"{right} of {len(scenes)} ended as expected", "bold"))
    return right == len(scenes)


def _got(scene: Scene, job: Doc | None) -> str:
    """What a job came to: where it fits, in the words of what was expected."""
    if job is None:
        return "missing"
    return str(scene.end if scene.end.fits(job) else end_of(job))
