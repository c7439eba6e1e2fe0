"""The end of the demo: what waits for a person, with the command for each; then the verdict."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from worker.cli.next_steps import UNCERTAIN, job_commands
from worker.cli.output import new_table, show, text
from worker.cli.text import command_line
from worker.cli.up.demo.scenarios import DemoScenario, end_of
from worker.cli.up.demo.setup import DemoSetup

Doc = dict[str, Any]


async def show_remedies(
    setup: DemoSetup, scenarios: Sequence[DemoScenario], jobs: Mapping[str, Doc]
) -> None:
    """Print each job that waits for a person: why, what to do, and the exact commands."""
    show(text("\nThese wait for you; nothing else frees them:", "bold"))
    for scene in scenarios:
        job = jobs.get(scene.name)
        if job is None or job["state"] not in ("parked", "dead"):
            continue
        reason: Doc = job.get("reason") or {}
        lines = await commands_for(setup, scene, job)
        show(
            text(f"\n{scene.name}: {reason.get('code')} – {reason.get('message')}", "yellow"),
            text(f"  {reason.get('action')}"),
            *(text(f"  $ {line}", "bold") for line in lines),
            no_wrap=True,  # a command that is broken in two cannot be copied
        )


async def commands_for(setup: DemoSetup, scenario: DemoScenario, job: Doc) -> list[str]:
    """What to type, in this order: clear the cause in the sandbox, then free the job."""
    job_id = str(job["id"])
    reason: Doc = job.get("reason") or {}
    remedy = scenario.remedy
    if remedy is not None and remedy.inputs is not None:
        return [command_line("dead", "requeue", job_id, "--inputs", json.dumps(remedy.inputs))]
    if reason.get("code") == UNCERTAIN:
        execution = await setup.execution_of(job_id)
        if execution is not None:
            return [command_line("parked", "resolve", job_id, "--execution-id", execution)]
    free = job_commands(job)[:1]
    return free if remedy is None else [setup.admin_command(remedy.path, remedy.body), *free]


def show_results(scenarios: Sequence[DemoScenario], jobs: Mapping[str, Doc]) -> bool:
    """Print job → expected → got; True when all are the same."""
    table = new_table("JOB", "EXPECTED", "GOT", "")
    right = 0
    for scene in scenarios:
        job = jobs.get(scene.name)
        fits = job is not None and scene.end.matches(job)
        right += fits
        table.add_row(
            text(scene.name),
            text(scene.end),
            text(_actual_end(scene, job)),
            text("ok" if fits else "NO", "green" if fits else "bold red"),
        )
    show(text(""), table, text(f"{right} of {len(scenarios)} ended as expected", "bold"))
    return right == len(scenarios)


def _actual_end(scenario: DemoScenario, job: Doc | None) -> str:
    """What a job came to: where it fits, in the words of what was expected."""
    if job is None:
        return "missing"
    return str(scenario.end if scenario.end.matches(job) else end_of(job))
