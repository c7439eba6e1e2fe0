"""How many jobs a worker may admit: its own free slots, and those of all workers together."""

from dataclasses import dataclass

import pytest

from jobs.admission import FreeSlots
from worker.engine.services.heartbeat import LiveWorkers
from worker.engine.slots import MAX_SYNC_RUNS_PER_TICK, SlotCounter, SlotLimits
from worker.store.lanes import QueueSnapshot


@dataclass
class Usage:
    submitting: int = 0
    sync_runs: int = 0


def free(
    usage: Usage,
    *,
    submitting: int = 0,
    sync: int = 0,
    workers: int = 1,
    leaving: int = 0,
    drained: bool = False,
) -> FreeSlots:
    live = LiveWorkers(workers, leaving, is_drained=drained)
    counter = SlotCounter(SlotLimits(50, 40), usage, live)
    assert counter.takes_work is not drained
    return counter.free(QueueSnapshot((), 0, submitting, sync))


def test_open_sync_runs_take_no_slot_of_a_submit_and_the_other_way_round() -> None:
    assert free(Usage(sync_runs=40), sync=40) == FreeSlots(50, 0)
    assert free(Usage(submitting=50), submitting=50) == FreeSlots(0, 40)


def test_what_others_admitted_counts_against_the_slots_of_all() -> None:
    assert free(Usage(), submitting=90, sync=70, workers=2) == FreeSlots(10, 10)
    assert free(Usage(submitting=30, sync_runs=35), submitting=30, sync=35, workers=2) == (
        FreeSlots(20, 5)
    )


def test_runs_that_a_leaving_worker_still_holds_are_none_of_its_successors() -> None:
    """A drained worker with all its slots taken must not stop the one that replaces it."""
    assert free(Usage(), sync=40).sync_runs == 0
    assert free(Usage(), sync=40, leaving=40).sync_runs == 40


def test_hundreds_of_connections_are_opened_in_steps() -> None:
    counter = SlotCounter(SlotLimits(50, 500), Usage(), LiveWorkers())
    assert counter.free(QueueSnapshot((), 0, 0, 0)).sync_runs == MAX_SYNC_RUNS_PER_TICK


@pytest.mark.parametrize("drained", [True, False])
def test_a_drained_worker_takes_no_work(drained: bool) -> None:  # noqa: FBT001
    free(Usage(), drained=drained)
