"""A simulated provider, and the record of what it really ran.

Every call waits until the test answers it. A submit has three steps, as on the wire: the connection
is made, the send is recorded in Redis, the bytes are written.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Literal

import msgspec

from jobs.error_table import Disposition, ErrorTable
from jobs.outcomes import (
    Accepted,
    CallFailure,
    Finished,
    Lost,
    NotSent,
    PollOutcome,
    Refused,
    RunCancelled,
    RunFailed,
    RunMissing,
    SubmitOutcome,
)
from jobs.states import Kind, Mode
from jobs.workflows import WorkflowList, WorkflowSchema
from worker.provider.knouds.error_rows import ERROR_RULES
from worker.provider.port import CancelOutcome, Identity, SendMark, UsagePage

MISSING_LIMIT = 5
_ERROR_TABLE = ErrorTable(ERROR_RULES)


class SubmitKnowledge(Enum):
    """What the worker that made a submit knows about it."""

    OPEN = auto()
    """No answer yet."""
    NOT_SENT = auto()
    REFUSED = auto()
    ACCEPTED = auto()
    FINISHED = auto()
    UNKNOWN = auto()
    """Its answer leaves open whether a run was started."""
    DROPPED = auto()
    """It never gets an answer: it was killed, or cut at a shutdown."""


@dataclass(eq=False, slots=True)
class SimulatedRun:
    """A run that was started and costs credits."""

    execution_id: str
    job_id: str
    end: PollOutcome | None = None
    was_reported_failed: bool = False
    missing_polls: int = 0
    """Polls of it that were answered 404."""
    has_unusable_result: bool = False
    """A poll was answered that it ended without a result."""


@dataclass(eq=False, slots=True)
class SimulatedCall:
    """A request of a worker."""

    kind: Literal["submit", "poll", "cancel", "hook"]
    number: int
    worker: str
    job_id: str
    mode: Mode | None = None
    run: SimulatedRun | None = None
    connected: "asyncio.Future[NotSent | None]" = field(
        repr=False, default_factory=asyncio.Future["NotSent | None"]
    )
    answered: "asyncio.Future[Any]" = field(repr=False, default_factory=asyncio.Future[Any])
    written: bool = False
    """Its first byte was sent."""
    outcome: SubmitKnowledge = SubmitKnowledge.OPEN
    lost_worker: bool = False
    """Its worker was killed, stopped, or silent for longer than its lease on the job."""
    answer_given: object = None
    spends_attempt: bool = False

    @property
    def waits_for_connection(self) -> bool:
        """Whether its connection is neither made nor refused."""
        return self.kind == "submit" and not self.connected.done()

    @property
    def waits_for_answer(self) -> bool:
        """Whether it was sent and not answered."""
        sent = self.written if self.kind == "submit" else True
        return sent and not self.answered.done()

    @property
    def is_ready(self) -> bool:
        """Whether it waits for the test."""
        return self.waits_for_connection or self.waits_for_answer

    @property
    def may_run(self) -> bool:
        """Whether, as far as the worker can know, this submit may have started a run."""
        if not self.written or (self.run is not None and self.run.was_reported_failed):
            return False
        return self.outcome not in (SubmitKnowledge.NOT_SENT, SubmitKnowledge.REFUSED)

    @property
    def may_park_uncertain(self) -> bool:
        """Whether its job may be parked as uncertain."""
        if self.outcome in (SubmitKnowledge.UNKNOWN, SubmitKnowledge.DROPPED) or self.lost_worker:
            return True
        return self.run is not None and (
            self.run.missing_polls >= MISSING_LIMIT or self.run.has_unusable_result
        )


class ProviderRecord:
    """Every submit and every run of one example."""

    def __init__(self) -> None:
        self.calls: list[SimulatedCall] = []
        """Calls that are not over."""
        self.submits: dict[str, list[SimulatedCall]] = {}
        self.polls: list[SimulatedCall] = []
        """Polls and webhooks that were answered."""
        self.runs: dict[str, SimulatedRun] = {}
        self.violations: list[str] = []
        self.opted_in: set[str] = set()
        """Jobs that may be repeated when their outcome is unknown."""
        self.resubmits: dict[str, list[int]] = {}
        """When an operator resubmitted a job, counted in calls."""
        self.actions: dict[str, int] = {}
        """When an operator last acted on a job, counted in calls."""
        self.requeued: dict[str, int] = {}
        self.connects = True
        """Whether new connections are made at once."""
        self.answers_whoami = True
        self.whoami_calls = 0
        self._numbers = 0

    # What workers do.

    def begin(self, call: SimulatedCall) -> None:
        """A worker makes a call."""
        self._numbers += 1
        call.number = self._numbers
        self.calls.append(call)
        if call.kind == "submit":
            self.submits.setdefault(call.job_id, []).append(call)
            if self.connects:
                call.connected.set_result(None)

    def write(self, call: SimulatedCall) -> None:
        """The bytes of a submit are sent: from now on it may be paid for."""
        call.written = True
        if call not in self.submits.get(call.job_id, ()):
            self.violations.append(
                f"submit {call.number} of {call.job_id}, which was pruned, was written"
            )
        for other in self.submits.get(call.job_id, ()):
            if other is not call and other.may_run and not self._may_repeat(call, other):
                self.violations.append(
                    f"paid twice: submit {call.number} of {call.job_id} was written while submit "
                    f"{other.number} ({other.outcome.name}) may have run"
                )

    def _may_repeat(self, one: SimulatedCall, other: SimulatedCall) -> bool:
        """Whether an operator or the job itself allowed two submits beside each other."""
        first = min(one, other, key=lambda call: call.number)
        if any(at >= first.number for at in self.resubmits.get(first.job_id, ())):
            return True
        return first.job_id in self.opted_in and first.may_park_uncertain

    def end(self, call: SimulatedCall) -> None:
        """A call is over. A submit that was cut may have started a run."""
        if call in self.calls:
            self.calls.remove(call)
        if call.kind == "submit" and call.outcome is SubmitKnowledge.OPEN:
            self._drop(call)

    # What the test decides.

    def begin_job(self, job_id: str, *, opts_in: bool) -> None:
        """A job is enqueued; forget a pruned one with the same id."""
        for known in (self.submits, self.resubmits, self.actions, self.requeued):
            known.pop(job_id, None)
        self.polls = [call for call in self.polls if call.job_id != job_id]
        (self.opted_in.add if opts_in else self.opted_in.discard)(job_id)

    def give_answer(self, call: SimulatedCall, answer: object, *, started: bool = False) -> None:
        """Answer a call; `started`: a run exists although the answer does not say so."""
        call.answer_given = answer
        if call.kind == "submit":
            call.outcome = self._outcome(call, answer)
            if started:
                self.start_run(call)
        elif call.kind == "poll" and call.run is not None:
            self.polls.append(call)
            _remember(call.run, answer)
        call.answered.set_result(answer)

    def give_webhook(self, run: SimulatedRun, end: PollOutcome) -> PollOutcome:
        """A webhook reports the end of a run; returns the end that the run has."""
        call = SimulatedCall(
            "hook", self._numbers, "", run.job_id, run=run, answer_given=run.end or end
        )
        self.polls.append(call)
        _remember(run, call.answer_given)
        return run.end or end

    def refuse_connection(self, call: SimulatedCall) -> None:
        """The connection is refused: no byte is sent."""
        call.outcome = SubmitKnowledge.NOT_SENT
        call.connected.set_result(NotSent("connection refused"))

    def lose(self, worker: str, job_ids: tuple[str, ...], *, killed: bool) -> None:
        """A worker is gone, or was silent for too long, while it had leases on these jobs."""
        for job_id in job_ids:
            for call in self.submits.get(job_id, ()):
                call.lost_worker = call.lost_worker or call.worker == worker
        if killed:
            for call in [call for call in self.calls if call.worker == worker]:
                call.lost_worker = True
                self.end(call)

    def start_run(self, call: SimulatedCall) -> SimulatedRun:
        """The provider starts a run for a submit."""
        run = SimulatedRun(f"ex-{call.number}", call.job_id)
        call.run = self.runs[run.execution_id] = run
        return run

    def note_operator_action(
        self, job_id: str, *, resubmit: bool = False, requeue: bool = False
    ) -> None:
        """An operator acted on a job."""
        self.actions[job_id] = self._numbers
        if resubmit:
            self.resubmits.setdefault(job_id, []).append(self._numbers)
        if requeue:
            self.requeued[job_id] = self._numbers

    # What the invariants read.

    @property
    def ready(self) -> list[SimulatedCall]:
        """Calls that wait for the test: for their connection, or for an answer."""
        return [call for call in self.calls if call.is_ready]

    def attempts_that_count(self, job_id: str) -> int:
        """How many submits may have spent an attempt since an operator requeued the job."""
        since = self.requeued.get(job_id, 0)
        again = job_id in self.opted_in
        return sum(
            call.spends_attempt
            or (call.run is not None and call.run.was_reported_failed)
            or (again and call.may_park_uncertain)
            for call in self.submits.get(job_id, ())
            if call.number > since
        )

    def may_be_uncertain(self, job_id: str) -> bool:
        """Whether the last written submit of a job, or a later one, may be uncertain."""
        calls = self.submits.get(job_id, [])
        last = max((n for n, call in enumerate(calls) if call.written), default=0)
        return any(call.may_park_uncertain for call in calls[last:])

    def latest_run(self, job_id: str) -> SimulatedRun | None:
        """The run that the last written submit of a job started, or None."""
        written = [call for call in self.submits.get(job_id, ()) if call.written]
        return written[-1].run if written else None

    def is_final(self, call: SimulatedCall) -> bool:
        """Whether its answer must be kept: of the last submit, and no operator acted since."""
        job_id = call.job_id
        allowed = job_id in self.opted_in or self.actions.get(job_id, 0) >= call.number
        written = [one for one in self.submits.get(job_id, ()) if one.written]
        latest = bool(written) and (
            call is written[-1] or (call.run is not None and call.run is written[-1].run)
        )
        return latest and not allowed and not call.lost_worker

    def answered(self) -> Iterator[SimulatedCall]:
        """Submits and polls whose answer was given."""
        for calls in self.submits.values():
            yield from (call for call in calls if call.answer_given is not None)
        yield from self.polls

    def _outcome(self, call: SimulatedCall, answer: object) -> SubmitKnowledge:
        match answer:
            case Accepted():
                return SubmitKnowledge.ACCEPTED
            case Finished():
                return SubmitKnowledge.FINISHED
            case NotSent():
                return SubmitKnowledge.NOT_SENT
            case Refused(error):
                disposition = _ERROR_TABLE.rule_for_submit(error).disposition
                spends = {Disposition.RETRY, Disposition.DEAD}
                spends |= {Disposition.SYNC} if call.mode is Mode.SYNC else set()
                call.spends_attempt = disposition in spends
                uncertain = disposition is Disposition.UNCERTAIN
                return SubmitKnowledge.UNKNOWN if uncertain else SubmitKnowledge.REFUSED
            case Lost():
                return SubmitKnowledge.UNKNOWN
            case _:
                raise AssertionError(f"no answer to a submit: {answer}")

    def _drop(self, call: SimulatedCall) -> None:
        """No worker waits for the answer any more; two of three such submits started a run."""
        call.outcome = SubmitKnowledge.DROPPED if call.written else SubmitKnowledge.NOT_SENT
        if call.written and call.number % 3:
            self.start_run(call)


def _remember(run: SimulatedRun, answer: object) -> None:
    match answer:
        case RunFailed():
            run.was_reported_failed = True
            run.end = answer
        case Finished() | RunCancelled():
            run.end = answer
        case Lost():
            run.end = answer
            run.has_unusable_result = True
        case RunMissing():
            run.missing_polls += 1
        case _:
            return


class SimulatedProvider:
    """One worker's client of the provider, in place of `KnoudsClient`."""

    def __init__(self, *_: object, **__: object) -> None:
        self.record: ProviderRecord = ProviderRecord()
        self.worker = ""

    async def close(self) -> None:
        """Nothing to close."""

    @property
    def network_path(self) -> str:
        return "simulated"

    async def workflows(self, account: str) -> WorkflowList | CallFailure:
        del account
        return CallFailure("not simulated", 503)

    async def workflow_schema(self, account: str, slug: str) -> WorkflowSchema | CallFailure:
        del account, slug
        return CallFailure("not simulated", 503)

    async def usage(self, account: str, *, limit: int, offset: int) -> UsagePage | CallFailure:
        """The list cannot be read: findings have tests of their own."""
        del account, limit, offset
        return CallFailure("not simulated", 503)

    async def submit(
        self,
        kind: Kind,
        target: str,
        account: str,
        inputs: bytes,
        mode: Mode,
        *,
        mark: SendMark,
    ) -> SubmitOutcome:
        """Submit a run. The inputs contain the job id."""
        del kind, target, account
        job_id: str = msgspec.json.decode(inputs)["job"]
        call = SimulatedCall("submit", 0, self.worker, job_id, mode)
        self.record.begin(call)
        try:
            if (refused := await call.connected) is not None:
                return refused
            try:
                await mark.record()
            except Exception:
                call.outcome = SubmitKnowledge.NOT_SENT
                raise
            self.record.write(call)
            answer: SubmitOutcome = await call.answered
            return answer
        finally:
            self.record.end(call)

    async def poll(self, account: str, execution_id: str) -> PollOutcome:
        """Poll a run."""
        del account
        answer: PollOutcome = await self._send("poll", execution_id)
        return answer

    async def cancel(self, account: str, execution_id: str) -> CancelOutcome:
        """Request a cancel of a run."""
        del account
        answer: CancelOutcome = await self._send("cancel", execution_id)
        return answer

    async def whoami(self, account: str) -> Identity | CallFailure:
        """Say whose key it is, unless the test says that the provider cannot be reached."""
        del account
        self.record.whoami_calls += 1
        return Identity("u_1") if self.record.answers_whoami else CallFailure("HTTP 502", 502)

    async def _send(self, what: Literal["poll", "cancel"], execution_id: str) -> Any:
        run = self.record.runs[execution_id]
        call = SimulatedCall(what, 0, self.worker, run.job_id, run=run)
        self.record.begin(call)
        try:
            return await call.answered
        finally:
            self.record.end(call)
