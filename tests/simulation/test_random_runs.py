"""Random runs of the whole engine: several workers, every answer, every fault; invariants hold.

Every run of the tests takes the same examples. `MACHINE_EXAMPLES=1000` takes so many random ones.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

import pytest
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

from jobs.job import STUCK, UNCERTAIN, Job
from jobs.lanes import Scope
from jobs.lifecycle import IllegalTransition, Transition
from jobs.states import OnUncertain, State
from jobs.transitions import JobEdit
from tests.simulation import provider_outcomes
from tests.simulation.deployment import (
    ANN,
    SERVICES,
    SimulatedDeployment,
    SimulatedWorker,
    ignore_killed_tasks,
    small_settings,
)
from tests.simulation.faulty_redis_client import RedisFault, RedisFaultKind
from tests.simulation.manual_clock import BEGIN
from tests.simulation.simulated_provider import SimulatedCall
from worker.app.action_table import JobAction
from worker.app.actions import NoSuchJob
from worker.app.enqueue import InvalidRequest, JobIdConflict
from worker.app.job_edits import JobEdits

T = TypeVar("T")

Action = tuple[JobAction, str]
"""What an operator does, with the execution id to attach."""

EXAMPLES: Final = int(os.environ.get("MACHINE_EXAMPLES", "0"))
WORKERS_MOST: Final = 3
JOBS_MOST: Final = 6
DAY_S: Final = 86_400.0
ACTIONS: Final[tuple[Action, ...]] = (
    (JobAction.CANCEL, ""),
    *((action, "") for action in JobAction if action is not JobAction.ATTACH),
)

transitions_seen: Counter[tuple[State, Transition]] = Counter()

numbers = st.integers(0, 2**16)
requests = st.fixed_dictionaries(
    {
        "target": st.sampled_from(["suno", "suno", "kling"]),
        "priority": st.sampled_from([0, 0, 50]),
        "delay_s": st.sampled_from([None, None, None, 30.0]),
        "start_by": st.sampled_from([None, None, BEGIN + 40.0, BEGIN + 400.0]),
        "tags": st.sampled_from([(), (), ("t",)]),
        "fair_key": st.sampled_from([None, "ann", "bob"]),
        "on_uncertain": st.sampled_from([OnUncertain.PARK, OnUncertain.PARK, OnUncertain.RETRY]),
    }
)


on_submit = st.sampled_from([*provider_outcomes.ON_SUBMIT, *provider_outcomes.ACCEPTING])
on_poll = st.sampled_from([*provider_outcomes.ON_POLL, "completed", "processing"])
on_cancel = st.sampled_from([*provider_outcomes.ON_CANCEL])


def pick(table: Mapping[str, object], number: int) -> str:
    """An answer of a table, for a rule that has nothing to do and goes on instead."""
    return [*table][number // 3 % len(table)]


class EngineMachine(RuleBasedStateMachine):
    """Rules are what workers, arq, the provider, apps and operators do, and what can fail."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.runner.get_loop().set_exception_handler(ignore_killed_tasks)
        self.deployment = SimulatedDeployment(small_settings(), self.url)
        self.broken = False
        self.job_ids: list[str] = []

    def do(self, step: Coroutine[Any, Any, T]) -> T:
        """Run a step. After one that failed nothing else is run."""
        try:
            return self.runner.run(step)
        except BaseException:
            self.broken = True
            raise

    @initialize(first=st.lists(requests, min_size=1, max_size=3), budgets=st.booleans())
    def open(self, first: list[dict[str, Any]], *, budgets: bool) -> None:
        assert self.do(self.deployment.store.recovery.until_ready())
        if budgets:
            self.do(self.deployment.set_budget("all", "default", 4, is_counting=False))
            self.do(self.deployment.set_budget("tagged", "tag:t", 1, is_counting=False))
        for _ in range(2):
            self.deployment.start_worker()
        for request in first:
            self.enqueue(request, 0, again=False)

    def teardown(self) -> None:
        try:
            if not self.broken:
                self.runner.run(self.deployment.settle_everything())
            transitions_seen.update(self.deployment.invariants.transitions_seen)
        finally:
            try:
                self.runner.run(self.deployment.close())
            finally:
                self.runner.close()

    @invariant()
    def the_invariants_hold(self) -> None:
        self.do(self.deployment.check())

    # Workers.

    def a_worker(self, number: int) -> SimulatedWorker:
        """A worker that is not stalled and takes work; a new one if there is none."""
        ready = [one for one in self.deployment.living if one.takes_work and not one.client.asleep]
        return ready[number % len(ready)] if ready else self.deployment.start_worker()

    # Apps.

    @rule(request=requests, number=numbers, again=st.booleans())
    def enqueue(self, request: dict[str, Any], number: int, *, again: bool) -> None:
        if not again and len(self.job_ids) < JOBS_MOST:
            self.job_ids.append(f"j{len(self.job_ids)}")
            self.do(self._enqueue(self.job_ids[-1], request))
        elif again and number % 2:
            self.do(self._enqueue(self.job_ids[number % len(self.job_ids)], request))
        else:
            self.do(self._go_on(number))

    async def _enqueue(self, job_id: str, request: dict[str, Any]) -> None:
        before = await self.deployment.store.jobs.load(job_id)
        try:
            result = await self.deployment.enqueue(job_id, **request)
        except JobIdConflict:
            assert before is not None
            return
        except InvalidRequest:  # its start_by has passed
            self.job_ids = [one for one in self.job_ids if one != job_id or before is not None]
            return
        assert result.created is (before is None)

    # The usual way of a job.

    @rule(number=numbers, submit=on_submit, poll=on_poll, cancel=on_cancel, times=st.integers(1, 4))
    def go_on(self, number: int, submit: str, poll: str, cancel: str, times: int) -> None:
        for _ in range(times):
            self.do(self._go_on(number, submit, poll, cancel))

    @rule(number=numbers, submit=st.sampled_from([*provider_outcomes.ACCEPTING]), poll=on_poll)
    def go_on_to_a_run(self, number: int, submit: str, poll: str) -> None:
        self.do(self._go_on(number, submit, poll))

    @rule(number=numbers, submit=on_submit, poll=st.sampled_from([*provider_outcomes.ENDS]))
    def go_on_to_an_end(self, number: int, submit: str, poll: str) -> None:
        self.do(self._go_on(number, submit, poll))

    async def _go_on(
        self,
        number: int,
        submit: str | None = None,
        poll: str | None = None,
        cancel: str | None = None,
    ) -> None:
        """Answer a call; if none waits, do what comes next; if nothing does, let time pass."""
        deployment, worker = self.deployment, self.a_worker(number)
        submit = submit or pick(provider_outcomes.ON_SUBMIT, number)
        poll = poll or pick(provider_outcomes.ON_POLL, number)
        cancel = cancel or pick(provider_outcomes.ON_CANCEL, number)
        if ready := deployment.record.ready:
            await self._answer(ready[number % len(ready)], submit, poll, cancel)
        elif await deployment.entries():
            await deployment.deliver(worker)
        else:
            await deployment.admit_and_deliver(worker)
            if not deployment.record.ready:
                await deployment.pass_time_until_something_is_due()
                await deployment.tick(worker, *SERVICES)

    # Single steps.

    @rule(number=numbers, which=numbers, connects=st.booleans(), again=st.booleans())
    def deliver(self, number: int, which: int, *, connects: bool, again: bool) -> None:
        self.do(self._deliver(number, which, connects=connects, again=again))

    async def _deliver(self, number: int, which: int, *, connects: bool, again: bool) -> None:
        """Run an entry, or one a second time, perhaps only up to its connection."""
        entries = self.deployment.delivered_entries if again else await self.deployment.entries()
        if not entries:
            await self._go_on(number)
            return
        self.deployment.record.connects = connects
        await self.deployment.run_entry(self.a_worker(number), entries[-1 - which % len(entries)])
        self.deployment.record.connects = True

    @rule(number=numbers, name=st.sampled_from(SERVICES))
    def tick(self, number: int, name: str) -> None:
        self.do(self.deployment.tick(self.a_worker(number), name))

    @rule(
        seconds=st.sampled_from([0.5, 2.0, 6.0, 11.0, 11.0, 40.0, 320.0, 700.0, 8 * DAY_S]),
        number=numbers,
        ticks=st.booleans(),
    )
    def pass_time(self, seconds: float, number: int, *, ticks: bool) -> None:
        self.do(self.deployment.pass_time(seconds))
        if ticks:
            self.do(self.deployment.tick(self.a_worker(number), *SERVICES))

    @rule(which=numbers, end=st.sampled_from(provider_outcomes.WEBHOOK_EVENTS))
    def deliver_webhook(self, which: int, end: str) -> None:
        """The provider delivers a webhook; also early, late and again."""
        runs = list(self.deployment.record.runs.values())
        if not runs:
            self.do(self._go_on(which))
            return
        run = runs[-1 - which % len(runs)]
        outcome = provider_outcomes.ENDS.get(end)
        self.do(
            self.deployment.deliver_webhook(
                run, outcome(self.deployment, run) if outcome is not None else None
            )
        )

    async def _answer(self, call: SimulatedCall, submit: str, poll: str, cancel: str) -> None:
        if call.waits_for_connection:
            refused = submit == "not sent after all"
            await (self.deployment.refuse_connection if refused else self.deployment.connect)(call)
        elif call.kind == "submit":
            answer, started = provider_outcomes.ON_SUBMIT[submit](self.deployment, call)
            await self.deployment.answer(call, answer, started=started)
        elif call.kind == "cancel":
            await self.deployment.answer(call, provider_outcomes.ON_CANCEL[cancel])
        elif call.run is not None:
            known = call.run.end if poll in provider_outcomes.ENDS else None
            await self.deployment.answer(
                call, known or provider_outcomes.ON_POLL[poll](self.deployment, call.run)
            )

    # Faults.

    @rule(number=numbers, what=st.sampled_from(["wake", "stall", "kill", "stop"]))
    def disturb_worker(self, number: int, what: str) -> None:
        asleep = [worker for worker in self.deployment.living if worker.client.asleep]
        if what == "wake" and asleep:
            self.do(self.deployment.wake(asleep[number % len(asleep)]))
        elif len(self.deployment.living) < WORKERS_MOST:
            self.deployment.start_worker()
        elif what == "kill":
            self.do(self.deployment.kill(self.deployment.living[number % WORKERS_MOST]))
        elif what == "stall":
            self.do(self.deployment.stall(self.a_worker(number)))
        elif what == "stop":
            self.do(self.deployment.stop(self.a_worker(number)))
        else:
            self.do(self._go_on(number))

    @rule(
        number=numbers,
        kind=st.sampled_from(RedisFaultKind),
        after=st.integers(0, 9),
        taken=st.booleans(),
        times=st.sampled_from([1, 1, 3]),
    )
    def break_redis(
        self, number: int, kind: RedisFaultKind, after: int, times: int, *, taken: bool
    ) -> None:
        """A command of a worker fails soon."""
        times = times if kind is RedisFaultKind.BLIP else 1
        self.a_worker(number).client.faults.append(RedisFault(kind, after, taken, times))

    # Operators.

    @rule(number=numbers, which=numbers, sensible=st.sampled_from([True, True, False]))
    def take_action(self, number: int, which: int, *, sensible: bool) -> None:
        self.do(self._take_action(number, which, sensible=sensible))

    async def _take_action(self, number: int, which: int, *, sensible: bool) -> None:
        """Act on a job; `sensible`: on one that waits for an operator."""
        found = await self.deployment.store.jobs.load_many(self.job_ids)
        jobs = [stored.job for stored in found if stored is not None]
        if sensible:
            jobs = [job for job in jobs if job.state in (State.PARKED, State.DEAD)]
        if not jobs:
            await self._go_on(number)
            return
        job = jobs[number % len(jobs)]
        actions = self._sensible_actions(job) if sensible else ACTIONS
        action, execution_id = actions[which % len(actions)]
        try:
            await self.deployment.take_action(action, job.id, execution_id)
        except (IllegalTransition, NoSuchJob):
            return

    def _sensible_actions(self, job: Job) -> Sequence[Action]:
        """What an operator would do about a parked job or a dead letter, the usual more often."""
        if job.parked_as in (UNCERTAIN, STUCK):
            run = self.deployment.record.latest_run(job.id)
            attach = [(JobAction.ATTACH, run.execution_id)] * 2 if run is not None else []
            resubmit = [(JobAction.RESUBMIT, "")] * 2
            others = (JobAction.DISCARD, JobAction.CANCEL, JobAction.RELEASE)
            return [*attach, *resubmit, *((action, "") for action in others)]
        if job.state is State.PARKED:
            release = [(JobAction.RELEASE, "")] * 3
            return [*release, (JobAction.CANCEL, ""), (JobAction.DISCARD, "")]
        return [*[(JobAction.REQUEUE, "")] * 2, (JobAction.DISCARD, "")]

    @rule(
        which=numbers,
        scope=st.sampled_from(["default", "default/model", "default/model/suno"]),
        close=st.sampled_from([True, False, False, False]),
    )
    def open_or_close_a_gate(self, which: int, scope: str, *, close: bool) -> None:
        self.do(self._close(scope) if close else self._release(which))

    async def _close(self, scope: str) -> None:
        await self.deployment.actions.place_hold(Scope(scope), ANN)
        self.deployment.invariants.actions += 1

    async def _release(self, which: int) -> None:
        holds = await self.deployment.store.holds.list_all()
        if not holds:
            await self._go_on(which)
            return
        await self.deployment.actions.release_hold(holds[which % len(holds)].id, ANN)
        self.deployment.invariants.actions += 1

    @rule(which=numbers, priority=st.sampled_from([0, 9]), tags=st.sampled_from([(), ("t",)]))
    def edit_a_job(self, which: int, priority: int, tags: tuple[str, ...]) -> None:
        later = JobEdit(run_at=self.deployment.clock.now() + 30.0, start_by=None)
        self.do(self._edit(which, JobEdit(priority, tags) if which % 3 else later))

    async def _edit(self, which: int, wanted: JobEdit) -> None:
        job_id = self.job_ids[which % len(self.job_ids)]
        before = await self.deployment.store.jobs.load(job_id)
        edits = JobEdits(self.deployment.store, self.deployment.clock)
        try:
            job = await edits.edit(job_id, wanted, ANN)
        except (NoSuchJob, IllegalTransition):
            return
        self.deployment.invariants.actions += before is None or job != before.job

    @rule(number=numbers, what=st.sampled_from(["raise", "raise", "remove", "new"]))
    def change_a_budget(self, number: int, what: str) -> None:
        self.do(self._change_a_budget(number, what))

    async def _change_a_budget(self, number: int, what: str) -> None:
        budgets = await self.deployment.store.budgets.list_all()
        if what == "new":
            scope = ("default/model/suno", "tag:t")[number % 2]
            await self.deployment.set_budget(f"new-{number % 2}", scope, 1 + number % 3)
        elif not budgets:
            await self._go_on(number)
        elif what == "raise":
            budget = budgets[number % len(budgets)]
            await self.deployment.set_budget(budget.name, budget.scope, budget.limit + 1)
        else:
            name = budgets[number % len(budgets)].name
            await self.deployment.store.budgets.change(name, lambda _: None)

    @rule(which=numbers, reset=st.booleans(), answers=st.booleans())
    def act_on_a_breaker(self, which: int, *, reset: bool, answers: bool) -> None:
        """An operator probes or resets one; the free call fails from now on, or works again."""
        self.deployment.record.answers_whoami = answers
        self.do(self._act_on_a_breaker(which, reset=reset))

    async def _act_on_a_breaker(self, which: int, *, reset: bool) -> None:
        breakers = await self.deployment.store.breakers.list_all()
        if not breakers:
            await self._go_on(which)
            return
        breaker_id, actions = breakers[which % len(breakers)].id, self.deployment.breaker_actions
        await (actions.reset if reset else actions.probe)(breaker_id, ANN)
        self.deployment.invariants.actions += 1


@pytest.mark.timeout(300)  # about 80 s of one core, more on a busy machine
def test_whatever_happens_the_invariants_hold(redis_url: str) -> None:
    class BoundEngineMachine(EngineMachine):
        url = redis_url

    bounded = bounds(
        max_examples=EXAMPLES or 60,
        stateful_step_count=40,
        deadline=None,
        database=None,
        derandomize=EXAMPLES == 0,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    run_state_machine_as_test(BoundEngineMachine, settings=bounded)
