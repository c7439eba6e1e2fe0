"""The provider as the machine plays it, and the judge who writes down what it really ran.

Every call waits for an answer until the machine gives one. A submit has three steps, as on the
wire: the connection stands, the mark is awaited, the bytes are written.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any, Literal

import msgspec

from jobs.error_table import Disposition, Verdicts
from jobs.outcomes import (
    Accepted,
    Finished,
    Lost,
    Missing,
    NotSent,
    PollAnswer,
    Refused,
    RunCancelled,
    RunFailed,
    SubmitAnswer,
)
from jobs.states import Kind, Mode
from worker.provider.http.send_gate import BeforeWrite
from worker.provider.port import CancelAnswer

MISSING_LIMIT = 5
_VERDICTS = Verdicts(overrides={})


class Outcome(Enum):
    """What the worker that made a submit knows of it."""

    OPEN = auto()
    """No answer yet."""
    NOT_SENT = auto()
    REFUSED = auto()
    ACCEPTED = auto()
    FINISHED = auto()
    UNKNOWN = auto()
    """It was told that nobody knows."""
    DROPPED = auto()
    """It will never learn: killed, or cut at shutdown."""


@dataclass(eq=False, slots=True)
class Run:
    """A run that exists, and costs."""

    execution_id: str
    job_id: str
    end: PollAnswer | None = None
    told_failed: bool = False
    missing: int = 0
    """How often a look at it was answered 404."""
    unusable: bool = False
    """A look was told that it ended without a result."""


@dataclass(eq=False, slots=True)
class Call:
    """A request of a worker that waits for an answer."""

    what: Literal["submit", "poll", "cancel", "hook"]
    number: int
    worker: str
    job_id: str
    mode: Mode | None = None
    run: Run | None = None
    connected: "asyncio.Future[NotSent | None]" = field(
        repr=False, default_factory=asyncio.Future["NotSent | None"]
    )
    answered: "asyncio.Future[Any]" = field(repr=False, default_factory=asyncio.Future[Any])
    written: bool = False
    """Its first byte has left."""
    outcome: Outcome = Outcome.OPEN
    lost_worker: bool = False
    """Its worker was killed, stopped, or silent for longer than its lease, with the job in hand."""
    told: object = None
    costs_attempt: bool = False

    @property
    def waits_for_connection(self) -> bool:
        """Whether nothing of it was sent, and nothing was decided."""
        return self.what == "submit" and not self.connected.done()

    @property
    def waits_for_answer(self) -> bool:
        """Whether its bytes are out and nothing came back."""
        out = self.written if self.what == "submit" else True
        return out and not self.answered.done()

    @property
    def is_ready(self) -> bool:
        """Whether the test has the next word."""
        return self.waits_for_connection or self.waits_for_answer

    @property
    def may_run(self) -> bool:
        """Whether, as far as anybody was told, this submit may have started a run."""
        if not self.written or (self.run is not None and self.run.told_failed):
            return False
        return self.outcome not in (Outcome.NOT_SENT, Outcome.REFUSED)

    @property
    def is_doubtful(self) -> bool:
        """Whether there is a reason to park its job as uncertain."""
        if self.outcome in (Outcome.UNKNOWN, Outcome.DROPPED) or self.lost_worker:
            return True
        return self.run is not None and (self.run.missing >= MISSING_LIMIT or self.run.unusable)


class Judge:
    """Knows every submit and every run of an example."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        """Those that wait."""
        self.submits: dict[str, list[Call]] = {}
        self.polls: list[Call] = []
        """Those that were answered."""
        self.runs: dict[str, Run] = {}
        self.crimes: list[str] = []
        self.opted_in: set[str] = set()
        """Jobs that may be repeated when their outcome is unknown."""
        self.resubmits: dict[str, list[int]] = {}
        """When a person said to submit a job again, counted in calls."""
        self.acts: dict[str, int] = {}
        """When a person last decided on a job, counted in calls."""
        self.requeued: dict[str, int] = {}
        self.connects = True
        """Whether new connections stand at once."""
        self._numbers = 0

    # What workers do.

    def begin(self, call: Call) -> None:
        """Take a call on."""
        self._numbers += 1
        call.number = self._numbers
        self.calls.append(call)
        if call.what == "submit":
            self.submits.setdefault(call.job_id, []).append(call)
            if self.connects:
                call.connected.set_result(None)

    def write(self, call: Call) -> None:
        """The bytes of a submit leave: the moment at which it may be paid."""
        call.written = True
        if call not in self.submits.get(call.job_id, ()):
            self.crimes.append(f"submit {call.number} of {call.job_id}, which is gone, was written")
        for other in self.submits.get(call.job_id, ()):
            if other is not call and other.may_run and not self._may_repeat(call, other):
                self.crimes.append(
                    f"paid twice: submit {call.number} of {call.job_id} was written while submit "
                    f"{other.number} ({other.outcome.name}) may have run"
                )

    def _may_repeat(self, one: Call, other: Call) -> bool:
        """Whether somebody allowed two submits of a job beside each other."""
        first = min(one, other, key=lambda call: call.number)
        if any(at >= first.number for at in self.resubmits.get(first.job_id, ())):
            return True
        return first.job_id in self.opted_in and first.is_doubtful

    def end(self, call: Call) -> None:
        """A call is over, however it ended; one that was cut may have started a run."""
        if call in self.calls:
            self.calls.remove(call)
        if call.what == "submit" and call.outcome is Outcome.OPEN:
            self._drop(call)

    # What the machine decides.

    def begin_job(self, job_id: str, *, opts_in: bool) -> None:
        """A job begins; one that had its id and was pruned is another."""
        for known in (self.submits, self.resubmits, self.acts, self.requeued):
            known.pop(job_id, None)
        self.polls = [call for call in self.polls if call.job_id != job_id]
        (self.opted_in.add if opts_in else self.opted_in.discard)(job_id)

    def tell(self, call: Call, answer: object, *, started: bool = False) -> None:
        """Answer a call; `started`: a run exists although the answer does not say so."""
        call.told = answer
        if call.what == "submit":
            call.outcome = self._outcome(call, answer)
            if started:
                self.start_run(call)
        elif call.what == "poll" and call.run is not None:
            self.polls.append(call)
            _remember(call.run, answer)
        call.answered.set_result(answer)

    def tell_by_hook(self, run: Run, end: PollAnswer) -> PollAnswer:
        """A webhook tells of the end of a run; returns the end it has."""
        call = Call("hook", self._numbers, "", run.job_id, run=run, told=run.end or end)
        self.polls.append(call)
        _remember(run, call.told)
        return run.end or end

    def refuse_connection(self, call: Call) -> None:
        """Never a byte of it leaves."""
        call.outcome = Outcome.NOT_SENT
        call.connected.set_result(NotSent("connection refused"))

    def lose(self, worker: str, job_ids: tuple[str, ...], *, killed: bool) -> None:
        """A worker is gone, or was silent for too long, with these jobs in its hands."""
        for job_id in job_ids:
            for call in self.submits.get(job_id, ()):
                call.lost_worker = call.lost_worker or call.worker == worker
        if killed:
            for call in [call for call in self.calls if call.worker == worker]:
                call.lost_worker = True
                self.end(call)

    def start_run(self, call: Call) -> Run:
        """A run comes to be."""
        run = Run(f"ex-{call.number}", call.job_id)
        call.run = self.runs[run.execution_id] = run
        return run

    def decided(self, job_id: str, *, resubmit: bool = False, requeue: bool = False) -> None:
        """A person decided on a job."""
        self.acts[job_id] = self._numbers
        if resubmit:
            self.resubmits.setdefault(job_id, []).append(self._numbers)
        if requeue:
            self.requeued[job_id] = self._numbers

    # What the laws ask.

    @property
    def ready(self) -> list[Call]:
        """Calls that wait for the test: for their connection, or for an answer."""
        return [call for call in self.calls if call.is_ready]

    def attempts_that_count(self, job_id: str) -> int:
        """How many submits may have spent an attempt since a person requeued the job."""
        since = self.requeued.get(job_id, 0)
        again = job_id in self.opted_in
        return sum(
            call.costs_attempt
            or (call.run is not None and call.run.told_failed)
            or (again and call.is_doubtful)
            for call in self.submits.get(job_id, ())
            if call.number > since
        )

    def has_doubt(self, job_id: str) -> bool:
        """Whether the last submit of a job, or what came after it, has an unknown end."""
        calls = self.submits.get(job_id, [])
        last = max((n for n, call in enumerate(calls) if call.written), default=0)
        return any(call.is_doubtful for call in calls[last:])

    def latest_run(self, job_id: str) -> Run | None:
        """The run that the last written submit of a job started, if it did."""
        written = [call for call in self.submits.get(job_id, ()) if call.written]
        return written[-1].run if written else None

    def is_final(self, call: Call) -> bool:
        """Whether nobody allowed anything else after this call, so that its answer must count."""
        job_id = call.job_id
        allowed = job_id in self.opted_in or self.acts.get(job_id, 0) >= call.number
        written = [one for one in self.submits.get(job_id, ()) if one.written]
        latest = bool(written) and (
            call is written[-1] or (call.run is not None and call.run is written[-1].run)
        )
        return latest and not allowed and not call.lost_worker

    def answered(self) -> Iterator[Call]:
        """Submits and polls whose answer was given."""
        for calls in self.submits.values():
            yield from (call for call in calls if call.told is not None)
        yield from self.polls

    def _outcome(self, call: Call, answer: object) -> Outcome:
        match answer:
            case Accepted():
                return Outcome.ACCEPTED
            case Finished():
                return Outcome.FINISHED
            case NotSent():
                return Outcome.NOT_SENT
            case Refused(fault):
                disposition = _VERDICTS.on_call(fault).disposition
                spends = {Disposition.RETRY, Disposition.COOL, Disposition.DEAD}
                spends |= {Disposition.SYNC} if call.mode is Mode.SYNC else set()
                call.costs_attempt = disposition in spends
                uncertain = disposition is Disposition.UNCERTAIN
                return Outcome.UNKNOWN if uncertain else Outcome.REFUSED
            case Lost():
                return Outcome.UNKNOWN
            case _:
                raise AssertionError(f"no answer to a submit: {answer}")

    def _drop(self, call: Call) -> None:
        """Nobody waits for the answer any more; two of three such submits started a run."""
        call.outcome = Outcome.DROPPED if call.written else Outcome.NOT_SENT
        if call.written and call.number % 3:
            self.start_run(call)


def _remember(run: Run, answer: object) -> None:
    match answer:
        case RunFailed():
            run.told_failed = True
            run.end = answer
        case Finished() | RunCancelled():
            run.end = answer
        case Lost():
            run.end = answer
            run.unusable = True
        case Missing():
            run.missing += 1
        case _:
            return


class PlayedProvider:
    """One worker's client of the provider, in the place of `KnoudsClient`."""

    def __init__(self, *_: object, **__: object) -> None:
        self.judge: Judge = Judge()
        self.worker = ""

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to close."""

    async def submit(
        self,
        kind: Kind,
        target: str,
        account: str,
        inputs: bytes,
        mode: Mode,
        *,
        before_write: BeforeWrite,
    ) -> SubmitAnswer:
        """Ask for a run; the inputs name the job."""
        del kind, target, account
        job_id: str = msgspec.json.decode(inputs)["job"]
        call = Call("submit", 0, self.worker, job_id, mode)
        self.judge.begin(call)
        try:
            if (refused := await call.connected) is not None:
                return refused
            try:
                await before_write()
            except Exception:
                call.outcome = Outcome.NOT_SENT
                raise
            self.judge.write(call)
            answer: SubmitAnswer = await call.answered
            return answer
        finally:
            self.judge.end(call)

    async def poll(self, account: str, execution_id: str) -> PollAnswer:
        """Look at a run."""
        del account
        answer: PollAnswer = await self._ask("poll", execution_id)
        return answer

    async def cancel(self, account: str, execution_id: str) -> CancelAnswer:
        """Ask to cancel a run."""
        del account
        answer: CancelAnswer = await self._ask("cancel", execution_id)
        return answer

    async def _ask(self, what: Literal["poll", "cancel"], execution_id: str) -> Any:
        run = self.judge.runs[execution_id]
        call = Call(what, 0, self.worker, run.job_id, run=run)
        self.judge.begin(call)
        try:
            return await call.answered
        finally:
            self.judge.end(call)
