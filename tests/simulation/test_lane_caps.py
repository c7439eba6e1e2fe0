"""Caps that are changed while workers run, in virtual time: raised, lowered, and in the middle."""

import pytest

from jobs.holds import Gates
from jobs.states import State
from tests.simulation.deployment import ANN, SimulatedDeployment
from worker.app.lane_caps import LaneCaps
from worker.store.holds import HoldStore

LANE = "default/model/kling"
"""Its cap in the settings is 1."""


def caps_of(deployment: SimulatedDeployment) -> LaneCaps:
    return LaneCaps(deployment.store, deployment.clock, deployment.settings.lane_caps)


async def set_cap(deployment: SimulatedDeployment, cap: int, scope: str = LANE) -> None:
    await caps_of(deployment).set(scope, cap, ANN)
    deployment.invariants.actions += 1


async def in_flight(deployment: SimulatedDeployment) -> int:
    """How many jobs of the lane are at the provider, or on their way."""
    states = [(await deployment.job(f"j{number}")).state for number in range(4)]
    return sum(state in (State.SUBMITTING, State.RUNNING) for state in states)


async def four_jobs(deployment: SimulatedDeployment) -> None:
    for number in range(4):
        await deployment.enqueue(f"j{number}", "kling")


async def test_a_raised_cap_admits_at_once_and_a_lowered_one_nothing_until_it_fits(
    deployment: SimulatedDeployment,
) -> None:
    worker, other = deployment.start_worker(), deployment.start_worker()
    await four_jobs(deployment)
    await deployment.admit_and_deliver(worker)
    assert await in_flight(deployment) == 1
    await set_cap(deployment, 3)
    await deployment.admit_and_deliver(other)
    await deployment.admit_and_deliver(worker)
    assert await in_flight(deployment) == 3
    await set_cap(deployment, 2)
    for _ in range(2):
        for one in (worker, other):
            await deployment.admit_and_deliver(one)
    assert await in_flight(deployment) == 3, "what is in flight goes on, nothing joins it"
    for number in range(2):
        call = deployment.open_call(f"j{number}")
        await deployment.answer(call, deployment.finished(call))
    for _ in range(2):  # the first look may find that the cap has changed
        await deployment.admit_and_deliver(other)
    await deployment.admit_and_deliver(worker)
    assert await in_flight(deployment) == 2
    await deployment.settle_everything()


async def test_a_removed_cap_is_that_of_the_settings_again(
    deployment: SimulatedDeployment,
) -> None:
    worker = deployment.start_worker()
    await set_cap(deployment, 2)
    await set_cap(deployment, 1, "default/model")
    await four_jobs(deployment)
    await deployment.admit_and_deliver(worker)
    assert await in_flight(deployment) == 2, "the narrowest scope applies"
    await caps_of(deployment).remove(LANE, ANN)
    deployment.invariants.actions += 1
    for number in range(2):
        call = deployment.open_call(f"j{number}")
        await deployment.answer(call, deployment.finished(call))
    for _ in range(3):
        await deployment.admit_and_deliver(worker)
    assert await in_flight(deployment) == 1
    await deployment.settle_everything()


async def test_a_cap_that_is_lowered_while_a_worker_admits_is_not_exceeded(
    deployment: SimulatedDeployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker has read the old cap, and writes its admissions after the new one is there."""
    worker = deployment.start_worker()
    await set_cap(deployment, 4)
    await four_jobs(deployment)
    holds = worker.runtime.context.store.holds
    read = holds.gates
    lowered: list[int] = []

    async def gates_and_then(_: HoldStore) -> Gates:
        found = await read()
        if not lowered:
            lowered.append(1)
            await set_cap(deployment, 1)
        return found

    monkeypatch.setattr(HoldStore, "gates", gates_and_then)
    await deployment.admit_and_deliver(worker)
    assert lowered
    assert await in_flight(deployment) <= 1
    for _ in range(3):
        await deployment.admit_and_deliver(worker)
    assert await in_flight(deployment) == 1
    await deployment.check()
