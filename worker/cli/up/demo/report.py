"""The end of the demo: the jobs that wait for an operator, with commands, and the results."""

import json
from collections.abc import Mapping, Sequence

from worker.cli.next_steps import UNCERTAIN, job_commands
from worker.cli.output import new_table, show, text
from worker.cli.text import Doc, command_line
from worker.cli.up.demo.scenarios import DemoScenario, end_of
from worker.cli.up.demo.setup import DemoSetup


async def show_remedies(
    setup: DemoSetup, scenarios: Sequence[DemoScenario], jobs: Mapping[str, Doc]
) -> None:
    """Print each job that waits for an operator: why, what to do, and the commands."""
    show(text("\nThese jobs wait for you:", "bold"))
    for scenario in scenarios:
        job = jobs.get(scenario.name)
        if job is None or job["state"] not in ("parked", "dead"):
            continue
        reason: Doc = job.get("reason") or {}
        lines = await commands_for(setup, scenario, job)
        show(
            text(f"\n{scenario.name}: {reason.get('code')} – {reason.get('message')}", "yellow"),
            text(f"  {reason.get('action')}"),
            *(text(f"  $ {line}", "bold") for line in lines),
            no_wrap=True,  # a command on two lines cannot be copied
        )


async def commands_for(setup: DemoSetup, scenario: DemoScenario, job: Doc) -> list[str]:
    """The commands to type, in order: fix the cause in the sandbox, then release the job."""
    job_id = str(job["id"])
    reason: Doc = job.get("reason") or {}
    remedy = scenario.remedy
    if remedy is not None and remedy.inputs is not None:
        return [command_line("dead", "requeue", job_id, "--inputs", json.dumps(remedy.inputs))]
    if reason.get("code") == UNCERTAIN:
        execution = await setup.execution_of(job_id)
        if execution is not None:
            return [command_line("parked", "resolve", job_id, "--execution-id", execution)]
    commands = job_commands(job)[:1]
    if remedy is None:
        return commands
    return [setup.admin_command(remedy.path, remedy.body), *commands]


def show_results(scenarios: Sequence[DemoScenario], jobs: Mapping[str, Doc]) -> bool:
    """Print what was expected of each job and what it came to; returns whether all match."""
    table = new_table("JOB", "EXPECTED", "ACTUAL", "")
    matching = 0
    for scenario in scenarios:
        job = jobs.get(scenario.name)
        is_match = job is not None and scenario.end.matches(job)
        matching += is_match
        actual = "missing" if job is None else scenario.end if is_match else end_of(job)
        table.add_row(
            text(scenario.name),
            text(scenario.end),
            text(actual),
            text("ok" if is_match else "NO", "green" if is_match else "bold red"),
        )
    show(text(""), table, text(f"{matching} of {len(scenarios)} ended as expected", "bold"))
    return matching == len(scenarios)
