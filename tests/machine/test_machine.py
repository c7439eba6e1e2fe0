"""The whole engine at random: several workers, every answer, every mishap, and the laws hold.

`MACHINE_EXAMPLES=1000` looks further than the fixed walk that every run of the tests takes.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck
from hypothesis import settings as bounds
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from jobs.job import Job
from jobs.lanes import Scope
from jobs.lifecycle import IllegalMove, Move
from jobs.states import OnUncertain, State
from jobs.transitions import STUCK, UNCERTAIN
from tests.machine import answers
from tests.machine.line import Fault, Mishap
from tests.machine.provider import Call
from tests.machine.world import ANN, SERVICES, Worker, World, let_the_dead_rest, small
from worker.app.actions import NoSuchJob
from worker.app.enqueue import Conflict

T = TypeVar("T")

EXAMPLES: Final = int(os.environ.get("MACHINE_EXAMPLES", "0"))
WORKERS_MOST: Final = 3
JOBS_MOST: Final = 6
DAY_S: Final = 86_400.0
ACTS: Final = tuple(
    (name,) for name in ("cancel", "cancel", "park", "release", "requeue", "discard", "resubmit")
)

walked: Counter[tuple[State, Move]] = Counter()

numbers = st.integers(0, 2**16)
orders = st.fixed_dictionaries(
    {
        "target": st.sampled_from(["suno", "suno", "kling"]),
        "priority": st.sampled_from([0, 0, 50]),
        "delay_s": st.sampled_from([None, None, None, 30.0]),
        "on_uncertain": st.sampled_from([OnUncertain.PARK, OnUncertain.PARK, OnUncertain.RETRY]),
    }
)


on_submit = st.sampled_from([*answers.ON_SUBMIT, *answers.TAKEN])
on_look = st.sampled_from([*answers.ON_LOOK, "completed", "processing"])
on_cancel = st.sampled_from([*answers.ON_CANCEL])


def pick(table: Mapping[str, object], number: int) -> str:
    """One of the answers of a table, where a rule that has nothing to do goes on instead."""
    return [*table][number // 3 % len(table)]


class EngineMachine(RuleBasedStateMachine):
    """Rules are what workers, arq, the provider, people and misfortune do."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.runner.get_loop().set_exception_handler(let_the_dead_rest)
        self.world = World(small(), self.url)
        self.broken = False
        self.job_ids: list[str] = []

    def do(self, deed: Coroutine[Any, Any, T]) -> T:
        """Run a deed; after one that failed nothing else is asked."""
        try:
            return self.runner.run(deed)
        except BaseException:
            self.broken = True
            raise

    @initialize(first=st.lists(orders, min_size=1, max_size=3))
    def open(self, first: list[dict[str, Any]]) -> None:
        for _ in range(2):
            self.world.start_worker()
        for order in first:
            self.enqueue(order, 0, again=False)

    def teardown(self) -> None:
        try:
            if not self.broken:
                self.runner.run(self.world.calm_down())
            walked.update(self.world.history.walked)
        finally:
            try:
                self.runner.run(self.world.close())
            finally:
                self.runner.close()

    @invariant()
    def the_laws_hold(self) -> None:
        self.do(self.world.check())

    # Who is there.

    def a_worker(self, number: int) -> Worker:
        """One that is awake and takes work; where there is none, a new one."""
        takers = [one for one in self.world.living if one.takes_work and not one.line.asleep]
        return takers[number % len(takers)] if takers else self.world.start_worker()

    # Apps.

    @rule(order=orders, number=numbers, again=st.booleans())
    def enqueue(self, order: dict[str, Any], number: int, *, again: bool) -> None:
        if not again and len(self.job_ids) < JOBS_MOST:
            self.job_ids.append(f"j{len(self.job_ids)}")
            self.do(self._enqueue(self.job_ids[-1], order))
        elif again and number % 2:
            self.do(self._enqueue(self.job_ids[number % len(self.job_ids)], order))
        else:
            self.do(self._go_on(number))

    async def _enqueue(self, job_id: str, order: dict[str, Any]) -> None:
        before = await self.world.store.jobs.load(job_id)
        try:
            placed = await self.world.enqueue(job_id, **order)
        except Conflict:
            assert before is not None
            return
        assert placed.created is (before is None)

    # The road, as it goes when nothing is in the way.

    @rule(number=numbers, submit=on_submit, look=on_look, cancel=on_cancel, times=st.integers(1, 4))
    def go_on(self, number: int, submit: str, look: str, cancel: str, times: int) -> None:
        for _ in range(times):
            self.do(self._go_on(number, submit, look, cancel))

    @rule(number=numbers, submit=st.sampled_from([*answers.TAKEN]), look=on_look)
    def go_on_to_a_run(self, number: int, submit: str, look: str) -> None:
        self.do(self._go_on(number, submit, look))

    @rule(number=numbers, submit=on_submit, look=st.sampled_from([*answers.ENDS]))
    def go_on_to_an_end(self, number: int, submit: str, look: str) -> None:
        self.do(self._go_on(number, submit, look))

    async def _go_on(
        self,
        number: int,
        submit: str | None = None,
        look: str | None = None,
        cancel: str | None = None,
    ) -> None:
        """Answer a call; where none waits, do what is next, and where nothing is, let time pass."""
        world, worker = self.world, self.a_worker(number)
        submit = submit or pick(answers.ON_SUBMIT, number)
        look = look or pick(answers.ON_LOOK, number)
        cancel = cancel or pick(answers.ON_CANCEL, number)
        if ready := world.judge.ready:
            await self._answer(ready[number % len(ready)], submit, look, cancel)
        elif await world.entries():
            await world.deliver(worker)
        else:
            await world.bring(worker)
            if not world.judge.ready:
                await world.pass_time_until_something_is_due()
                await world.tick(worker, *SERVICES)

    # The road, step by step.

    @rule(number=numbers, which=numbers, connects=st.booleans(), again=st.booleans())
    def deliver(self, number: int, which: int, *, connects: bool, again: bool) -> None:
        self.do(self._deliver(number, which, connects=connects, again=again))

    async def _deliver(self, number: int, which: int, *, connects: bool, again: bool) -> None:
        """Run an entry, or run one again, maybe only up to the mark."""
        entries = self.world.handed_out if again else await self.world.entries()
        if not entries:
            await self._go_on(number)
            return
        self.world.judge.connects = connects
        await self.world.run_entry(self.a_worker(number), entries[-1 - which % len(entries)])
        self.world.judge.connects = True

    @rule(number=numbers, name=st.sampled_from(SERVICES))
    def tick(self, number: int, name: str) -> None:
        self.do(self.world.tick(self.a_worker(number), name))

    @rule(
        seconds=st.sampled_from([0.5, 2.0, 6.0, 11.0, 11.0, 40.0, 320.0, 700.0, 8 * DAY_S]),
        number=numbers,
        noticed=st.booleans(),
    )
    def pass_time(self, seconds: float, number: int, *, noticed: bool) -> None:
        self.do(self.world.pass_time(seconds))
        if noticed:
            self.do(self.world.tick(self.a_worker(number), *SERVICES))

    @rule(which=numbers, end=st.sampled_from(answers.TOLD))
    def hook(self, which: int, end: str) -> None:
        """The provider delivers a webhook; also early, late and again."""
        runs = list(self.world.judge.runs.values())
        if not runs:
            self.do(self._go_on(which))
            return
        run = runs[-1 - which % len(runs)]
        made = answers.ENDS.get(end)
        self.do(self.world.hook(run, made(self.world, run) if made is not None else None))

    async def _answer(self, call: Call, submit: str, look: str, cancel: str) -> None:
        if call.waits_for_connection:
            refused = submit == "not sent after all"
            await (self.world.refuse_connection if refused else self.world.connect)(call)
        elif call.what == "submit":
            answer, started = answers.ON_SUBMIT[submit](self.world, call)
            await self.world.answer(call, answer, started=started)
        elif call.what == "cancel":
            await self.world.answer(call, answers.ON_CANCEL[cancel])
        elif call.run is not None:
            known = call.run.end if look in answers.ENDS else None
            await self.world.answer(call, known or answers.ON_LOOK[look](self.world, call.run))

    # Misfortune.

    @rule(number=numbers, what=st.sampled_from(["wake", "stall", "kill", "stop"]))
    def befall(self, number: int, what: str) -> None:
        asleep = [worker for worker in self.world.living if worker.line.asleep]
        if what == "wake" and asleep:
            self.do(self.world.wake(asleep[number % len(asleep)]))
        elif len(self.world.living) < WORKERS_MOST:
            self.world.start_worker()
        elif what == "kill":
            self.do(self.world.kill(self.world.living[number % WORKERS_MOST]))
        elif what == "stall":
            self.do(self.world.stall(self.a_worker(number)))
        elif what == "stop":
            self.do(self.world.stop(self.a_worker(number)))
        else:
            self.do(self._go_on(number))

    @rule(
        number=numbers,
        mishap=st.sampled_from(Mishap),
        after=st.integers(0, 9),
        taken=st.booleans(),
        times=st.sampled_from([1, 1, 3]),
    )
    def break_redis(
        self, number: int, mishap: Mishap, after: int, times: int, *, taken: bool
    ) -> None:
        """Some command of a worker, soon, will not be as the others."""
        times = times if mishap is Mishap.BLIP else 1
        self.a_worker(number).line.faults.append(Fault(mishap, after, taken, times))

    # People.

    @rule(number=numbers, which=numbers, sensible=st.sampled_from([True, True, False]))
    def act(self, number: int, which: int, *, sensible: bool) -> None:
        self.do(self._act(number, which, sensible=sensible))

    async def _act(self, number: int, which: int, *, sensible: bool) -> None:
        """Act on a job: where that is sensible, on one that waits for a person."""
        found = await self.world.store.jobs.load_many(self.job_ids)
        jobs = [stored.job for stored in found if stored is not None]
        if sensible:
            jobs = [job for job in jobs if job.state in (State.PARKED, State.DEAD)]
        if not jobs:
            await self._go_on(number)
            return
        job = jobs[number % len(jobs)]
        acts = self._sensible(job) if sensible else ACTS
        name, *more = acts[which % len(acts)]
        try:
            await self.world.act(name, job.id, *more)
        except (IllegalMove, NoSuchJob):
            return

    def _sensible(self, job: Job) -> Sequence[tuple[str, ...]]:
        """What a person would do about a job."""
        if job.parked_as in (UNCERTAIN, STUCK):
            run = self.world.judge.latest_run(job.id)
            found = [("attach", run.execution_id)] * 2 if run is not None else []
            return [*found, ("resubmit",), ("resubmit",), ("discard",), ("cancel",), ("release",)]
        if job.state is State.PARKED:
            return [("release",), ("release",), ("release",), ("cancel",), ("discard",)]
        return [("requeue",), ("requeue",), ("discard",)]

    @rule(
        which=numbers,
        scope=st.sampled_from(["default", "default/model", "default/model/suno"]),
        close=st.sampled_from([True, False, False, False]),
    )
    def open_or_close_a_gate(self, which: int, scope: str, *, close: bool) -> None:
        self.do(self._close(scope) if close else self._release(which))

    async def _close(self, scope: str) -> None:
        await self.world.desk.set_hold(Scope(scope), ANN)
        self.world.history.acts += 1

    async def _release(self, which: int) -> None:
        holds = await self.world.store.gates.holds()
        if not holds:
            await self._go_on(which)
            return
        await self.world.desk.release_hold(holds[which % len(holds)].id, ANN)
        self.world.history.acts += 1


def test_whatever_happens_the_laws_hold(redis_url: str) -> None:
    class Machine(EngineMachine):
        url = redis_url

    bounded = bounds(
        max_examples=EXAMPLES or 100,
        stateful_step_count=40,
        deadline=None,
        database=None,
        derandomize=EXAMPLES == 0,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(Machine, settings=bounded)
