"""Findings beside a model of the provider: random histories, late rows, pages that move.

The law: a submit that started a run is never `not_started`, as long as each run has its row within
the grace of its end. That is the only exception, and docs/evidence.md states it.
"""

from dataclasses import dataclass, replace
from typing import Final

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from jobs.evidence.assess import EvidenceRules, assess
from jobs.evidence.reading import CompleteReading, UsageReading, agree
from jobs.evidence.records import EvidenceFinding, SentAs, UncertainSubmit, merged
from jobs.evidence.runs import RunCertainty, RunOnRecord
from jobs.states import Kind, Mode
from jobs.usage import UsageRow

GRACE_S: Final = 120.0
SYNC_TIMEOUT_S: Final = 100.0
TARGETS: Final = ("suno", "kling")
HERE: Final = SentAs("https://knouds.ai", "u_1")
RULES: Final = EvidenceRules(
    base_url=HERE.base_url,
    user_id="u_1",
    grace_s=GRACE_S,
    sync_timeout_s=SYNC_TIMEOUT_S,
)


@dataclass(slots=True)
class ModelRun:
    """A run that the provider really started."""

    target: str
    mode: Mode
    request_id: str
    started_at: float
    takes_s: float
    credits: float
    lag_s: float
    name: str
    clock_s: float = 0.0
    """By how much the time in its row is off, beyond the skew of all rows."""

    @property
    def ends_at(self) -> float:
        return self.started_at + self.takes_s

    @property
    def written_at(self) -> float:
        start = self.started_at if self.mode is Mode.ASYNC else self.ends_at
        return start + self.lag_s


@dataclass(slots=True)
class ModelSubmit:
    """A submit of ours: its run if it started one, and what we know of it."""

    number: int
    target: str
    mode: Mode
    sent_at: float
    run: ModelRun | None
    known: str
    """`named`, `finished`, `failed` or `uncertain`."""
    submit: UncertainSubmit | None = None

    def on_record(self, now: float) -> RunOnRecord:
        """What the job's record says of it."""
        run = self.run
        ended = run is not None and run.ends_at <= now
        known = RunOnRecord(
            job_id=f"j{self.number}",
            kind=Kind.MODEL,
            target=self.target,
            mode=self.mode,
            sent_at=self.sent_at,
            certainty=RunCertainty.UNCERTAIN,
            submit=self.submit,
        )
        match self.known:
            case "uncertain":
                return known
            case "failed":
                return replace(
                    known,
                    certainty=RunCertainty.POSSIBLE,
                    ended_at=self.sent_at + 1,
                    code="EXECUTION_FAILED",
                )
            case "finished" if not ended:
                return replace(known, certainty=RunCertainty.UNDER_WAY)
            case _:
                assert run is not None
                is_named = self.known == "named"
                return replace(
                    known,
                    certainty=RunCertainty.NAMED if is_named else RunCertainty.CERTAIN,
                    ended_at=run.ends_at if ended else None,
                    request_id=run.request_id if is_named else None,
                    credits=run.credits if ended else None,
                    measured_s=None if is_named else run.takes_s + 0.5,
                )


class EvidenceMachine(RuleBasedStateMachine):
    """Submits, time, and readings that are compared two by two."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0
        self.skew = 0.0
        self.alias = False
        self.submits: list[ModelSubmit] = []
        self.written: list[tuple[str, ModelRun]] = []
        """Rows in the order of their ids: a run, or that of another program."""
        self.pending: list[ModelRun] = []
        self.runs = 0
        self.found: set[EvidenceFinding] = set()

    @initialize(skew=st.sampled_from([0.0, -300.0, 40.0, 300.0]), alias=st.booleans())
    def begin(self, *, skew: float, alias: bool) -> None:
        self.skew, self.alias = skew, alias

    # The provider.

    def _start(self, target: str, mode: Mode, lag_s: float, takes_s: float) -> ModelRun:
        self.runs += 1
        name = f"{target}-v2" if self.alias else target
        run = ModelRun(
            target, mode, f"r{self.runs}", self.now, takes_s, float(len(target)), lag_s, name
        )
        self.pending.append(run)
        return run

    def _write_due(self) -> None:
        due = sorted((r for r in self.pending if r.written_at <= self.now), key=_written)
        self.written += [("own", run) for run in due]
        self.pending = [run for run in self.pending if run.written_at > self.now]

    def _row(self, number: int) -> UsageRow:
        run = self.written[number][1]
        ended = run.ends_at <= self.now
        return UsageRow(
            id=number + 1,
            user_id="u_1",
            kind=Kind.MODEL,
            targets=(run.name,),
            status="completed" if ended else "processing",
            credits=run.credits if ended else None,
            duration_s=run.takes_s if ended else None,
            request_id=run.request_id,
            created_at=run.started_at + self.skew + run.clock_s,
        )

    # What happens.

    @rule(
        model=st.sampled_from(TARGETS),
        mode=st.sampled_from(list(Mode)),
        known=st.sampled_from(["named", "named", "finished", "failed", "uncertain", "uncertain"]),
        started=st.booleans(),
        lag_s=st.sampled_from([0.0, 1.0, 60.0, GRACE_S - 31]),
        takes_s=st.sampled_from([1.0, 20.0, 21.0, 90.0]),
        odd=st.sampled_from(["", "", "", "name", "early", "late"]),
    )
    def send(
        self,
        *,
        model: str,
        mode: Mode,
        known: str,
        started: bool,
        lag_s: float,
        takes_s: float,
        odd: str,
    ) -> None:
        if known == "named":
            mode = Mode.ASYNC
        if known == "finished":
            mode = Mode.SYNC
        starts = started or known in ("named", "finished")
        run = self._start(model, mode, lag_s, takes_s) if starts else None
        if run is not None and odd == "name":
            run.name = "fallback"
        elif run is not None:
            run.clock_s = {"early": -3_600.0, "late": 3_600.0}.get(odd, 0.0)
        self._send(model, mode, known, run)

    def _send(self, model: str, mode: Mode, known: str, run: ModelRun | None) -> None:
        number, submit = len(self.submits), None
        if known == "uncertain":
            submit = UncertainSubmit(number=1, mode=mode, sent_at=self.now, sent_as=HERE)
        self.submits.append(ModelSubmit(number, model, mode, self.now, run, known, submit))

    @rule(model=st.sampled_from(TARGETS), mode=st.sampled_from(list(Mode)))
    def foreign_run(self, model: str, mode: Mode) -> None:
        self._start(model, mode, 0.0, 20.0)

    @rule(seconds=st.sampled_from([0.5, 30.0, 130.0, 130.0, 300.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self._write_due()

    @precondition(lambda self: any(s.submit for s in self.submits))
    @rule(shifts=st.lists(st.sampled_from([0, 0, 1, -1, -3, 9]), max_size=4))
    def read_twice(self, shifts: list[int]) -> None:
        """Read the list twice, after a later run; pages behind the first are moved by `shifts`."""
        self._send("suno", Mode.ASYNC, "named", self._start("suno", Mode.ASYNC, 0.0, 1.0))
        self._write_due()
        oldest = min(s.sent_at for s in self.submits if s.submit)
        moved = list(shifts)
        first, second = self._read(oldest, moved), self._read(oldest, moved)
        if first is None or second is None or not agree(first, second):
            return
        runs = [sent.on_record(self.now) for sent in self.submits]
        for (job_id, _), assessment in assess(runs, second, RULES, oldest).items():
            sent = self.submits[int(job_id[1:])]
            assert sent.submit is not None
            sent.submit = merged(sent.submit, assessment, self.now)
            self.found.add(assessment.finding)

    @rule(model=st.sampled_from(TARGETS), odd=st.sampled_from(["name", "early", "late"]))
    def lose_a_run_with_an_odd_row(self, model: str, odd: str) -> None:
        """All that `not_started` asks for is there, and its row is, too."""
        for known, wait_s, how in (("named", 300.0, ""), ("uncertain", 130.0, odd)):
            self.send(
                model=model,
                mode=Mode.ASYNC,
                known=known,
                started=True,
                lag_s=0.0,
                takes_s=1.0,
                odd=how,
            )
            self.pass_time(wait_s)
        self.read_twice([])

    def _read(self, oldest: float, moved: list[int]) -> CompleteReading | None:
        reading = UsageReading(
            floor_at=oldest - 2 * GRACE_S, started_at=self.now, page_rows=4, overlap=2
        )
        for _ in range(200):
            if reading.is_done:
                break
            offset = max(0, reading.offset - (moved.pop() if moved and reading.offset else 0))
            ids = list(range(len(self.written) - 1, -1, -1))[offset : offset + 4]
            reading.add([self._row(i) for i in ids], len(self.written), is_complete=True)
        return reading.result()

    @invariant()
    def a_run_that_exists_is_never_not_started(self) -> None:
        for sent in self.submits:
            if sent.submit is not None and sent.submit.finding is EvidenceFinding.NOT_STARTED:
                assert sent.run is None, sent


def _written(run: ModelRun) -> float:
    return run.written_at


TestEvidence = EvidenceMachine.TestCase
TestEvidence.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, database=None
)
