"""The provider drops, hangs and sends garbage: only submits without an answer are uncertain."""

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.chaos_system import ASYNC, chaos_system
from tests.chaos.claims import check_claims
from tests.chaos.conftest import Report
from tests.chaos.scale import SEED, TIME_LIMIT_S, scaled

pytestmark = [pytest.mark.timeout(TIME_LIMIT_S)]

FAULT_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class RunFault:
    """A fault of one run, and whether it makes the outcome of the submit unknown."""

    sandbox_options: dict[str, Any]
    leaves_uncertain: bool


def _submit(fault: str, **options: Any) -> RunFault:
    return RunFault({"fault": fault, "times": 1} | options, leaves_uncertain=True)


def _poll(fault: str) -> RunFault:
    return RunFault({"poll": {"fault": fault, "times": 2}}, leaves_uncertain=False)


RUN_FAULTS = (
    _submit("drop_before"),
    _submit("drop_after"),
    _submit("drop_after", delay_s=0.3),
    _submit("hang_before"),
    _submit("hang"),
    _submit("html_502"),
    _submit("html_502", started=True),
    _submit("html_504", started=True),
    _submit("truncated_json"),
    _submit("html_200"),
    _submit("empty_body"),
    _poll("drop_before"),
    _poll("hang_before"),
    _poll("html_502"),
    _poll("truncated_json"),
    _poll("HTTP_500"),
    RunFault({"fault": "PROVIDER_SUBMIT_FAILED", "times": 2}, leaves_uncertain=False),
    RunFault({"fault": "slow", "delay_s": 0.5}, leaves_uncertain=False),
)


async def test_uncertain_jobs_are_exactly_those_submits_whose_answer_never_came(
    tmp_path: Path, report: Report
) -> None:
    jobs = scaled(short=200, full=2_000)
    rng = random.Random(SEED)  # noqa: S311  a schedule
    uncertain_ids: set[str] = set()
    faults = 0
    async with chaos_system(
        tmp_path, SEED, submit_timeout_s=2, connect_timeout_s=2, poll_timeout_s=1
    ) as it:
        for _ in range(jobs):
            if rng.random() >= FAULT_SHARE:
                await it.enqueue(it.requests(1))
                continue
            fault = rng.choice(RUN_FAULTS)
            (request,) = it.requests(1, targets=ASYNC, **fault.sandbox_options)
            if fault.leaves_uncertain:
                uncertain_ids.add(request[0])
            faults += 1
            await it.enqueue([request])
        async with it.breakers_reset():  # so many faults are an outage
            found = await check_claims(
                it,
                report,
                "provider",
                f"{faults} faults",
                explains=lambda job: job.id in uncertain_ids,
            )
        assert {job.id for job in found.uncertain} == uncertain_ids
