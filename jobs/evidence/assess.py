"""What a reading of the provider's list says about every uncertain submit of one account.

`not_started` needs all of this, and anything missing makes it `pending` or `unknown`:
- the submit was sent as the user whose list was read, at the same address;
- its grace had passed before the reading began;
- the reading reaches back to a run on record that had ended one grace before the submit, or to the
  first row;
- every run on record that was answered with a request id since then has its row;
- a run of the same kind and mode that was sent after it has its row;
- every row that may be its run belongs to another run on record, and for each of these rows there
  is exactly one such run;
- between the rows of runs that ended before it and of runs that were sent after its grace, no row
  is left that no run on record explains, whatever its target and time: ids grow row by row.

So it is wrong only for a run whose row appears later than the grace, or never.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from jobs.evidence.id_windows import IdWindows
from jobs.evidence.matching import MAX_EDGES, essential, parts
from jobs.evidence.part import Part
from jobs.evidence.reading import CompleteReading
from jobs.evidence.records import Assessment, EvidenceFinding, UncertainSubmit
from jobs.evidence.runs import RunCertainty, RunOnRecord, agrees
from jobs.states import Mode
from jobs.usage import UsageRow

CLOCK_MARGIN_S: Final = 60.0
"""How far the provider's clock may be from ours beyond what its rows show."""

DECIDE_WITHIN_S: Final = 900.0
"""How long after the grace a finding may stay open until `unknown` is final."""

ORPHANS: Final = "the list has rows that no run on record explains"
NOT_READ_BACK: Final = "the list was not read back to a run that ended before it was sent"

SubmitKey = tuple[str, int]
"""A job id and the number of an attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRules:
    """What findings depend on. Durations are seconds."""

    base_url: str
    user_id: str
    """Of the user whose list was read."""
    grace_s: float
    """After an async submit, how long its row may take to appear."""
    sync_timeout_s: float
    """How long a sync run may take: its row may come with its end."""
    is_shared: bool = False
    """Whether other programs use the account."""

    def grace_of(self, mode: Mode) -> float:
        """Seconds from the sending of a submit until its row has appeared."""
        return self.grace_s if mode is Mode.ASYNC else self.sync_timeout_s + self.grace_s


def cannot_tell(submit: UncertainSubmit, rules: EvidenceRules) -> str:
    """Why the list of this user is no evidence for a submit; empty if it may be."""
    sent_as = submit.sent_as
    if rules.is_shared:
        return "other programs use the account (KNOUDS_SHARED_ACCOUNTS)"
    if sent_as is None or sent_as.user_id is None:
        return "it is not on record as which user it was sent"
    if sent_as.user_id != rules.user_id:
        return "it was sent with the key of another user"
    if sent_as.base_url != rules.base_url:
        return "it was sent to another address"
    return ""


def assess(
    runs: Sequence[RunOnRecord], reading: CompleteReading, rules: EvidenceRules, since: float
) -> dict[SubmitKey, Assessment]:
    """The assessment of each uncertain submit that was sent from `since` on, by job and attempt.

    `runs`: every submit on record of the account's labels that may have a row since then, less a
    grace; read after the list. Older uncertain submits among them only claim rows.
    """
    return _Assessor(runs, reading, rules, since).assess()


class _Assessor:
    def __init__(
        self,
        runs: Sequence[RunOnRecord],
        reading: CompleteReading,
        rules: EvidenceRules,
        since: float,
    ) -> None:
        self._since = since
        self._reading = reading
        self._rules = rules
        self._row_of = {row.request_id: row for row in reading.rows if row.request_id is not None}
        self._named = [run for run in runs if run.certainty is RunCertainty.NAMED]
        self._claimants = [run for run in runs if run.certainty is not RunCertainty.NAMED]
        self._names = _observed_names(self._named, self._row_of)
        own = {run.request_id for run in runs if run.request_id is not None}
        self._rows = [row for row in reading.rows if row.request_id not in own]
        """Rows that no request id explains."""
        self._repeated = [
            row
            for row in reading.rows
            if row.request_id in own and self._row_of[row.request_id].id != row.id
        ]
        """Rows with the request id of a run that has another row."""
        self._windows = IdWindows(
            (run, self._row_of[run.request_id].id)
            for run in self._named
            if run.request_id in self._row_of
        )
        self._skew = self._observed_skew()

    def assess(self) -> dict[SubmitKey, Assessment]:
        edges = [self._possible_rows(run) for run in self._claimants]
        found_parts = [
            Part(edges, self._claimants, members, rows)
            for members, rows in parts(edges, len(self._rows))
        ]
        problem = self._problem_of_reading()
        shown_later = self._shown_runs(found_parts)
        orphans = self._orphans(found_parts)
        found: dict[SubmitKey, Assessment] = {}
        for part in found_parts:
            for number, assessment in self._assess_part(part).items():
                run = self._claimants[number]
                submit = run.submit
                if submit is None or submit.sent_at < self._since:
                    continue
                lacking = problem or self._lacking(run, submit, part, shown_later)
                low, high = self._id_window(run)
                own_orphans = tuple(row for row in orphans if low < row.id < high)
                checked = self._checked(submit, assessment, lacking, own_orphans)
                found[run.job_id, submit.number] = checked
        return found

    # Rows.

    def _observed_skew(self) -> tuple[float, float]:
        """By how much the provider's times were before and after ours, from rows with equal ids."""
        apart = [
            row.created_at - run.sent_at
            for run in self._named
            if (row := self._row_of.get(run.request_id or "")) is not None
            and row.created_at is not None
        ]
        return min(0.0, *apart, 0.0), max(0.0, *apart, 0.0)

    def _possible_rows(self, run: RunOnRecord) -> list[int]:
        """The numbers of the unexplained rows that may belong to a submit."""
        if run.submit is not None and run.request_id is not None:
            return []
        early, late = self._skew
        last = (
            run.sent_at + self._rules.grace_of(run.mode) if run.ended_at is None else run.ended_at
        )
        first = run.sent_at + early - CLOCK_MARGIN_S
        last += late + CLOCK_MARGIN_S
        low, high = self._id_window(run)
        return [
            number
            for number, row in enumerate(self._rows)
            if low < row.id < high
            and (row.created_at is None or first <= row.created_at <= last)
            and self._may_be_target(row, run)
            and agrees(row, run)
        ]

    def _may_be_target(self, row: UsageRow, run: RunOnRecord) -> bool:
        """Whether a row may be of the target, by the names that rows of known runs have."""
        if row.kind is not None and row.kind is not run.kind:
            return False
        names = set(row.targets)
        own = self._names.get((run.kind, run.target), set[str]())
        if not names or run.target in names or names & own:
            return True
        if own:
            return False
        others = (seen for key, seen in self._names.items() if key != (run.kind, run.target))
        return not any(names <= seen for seen in others)

    # Parts of the graph.

    def _assess_part(self, part: Part) -> dict[int, Assessment]:
        """The assessments of the uncertain submits in a part, as far as its rows tell."""
        uncertain = part.of(RunCertainty.UNCERTAIN)
        if not uncertain:
            return {}
        if not part.rows:
            return dict.fromkeys(uncertain, Assessment(finding=EvidenceFinding.NOT_STARTED))
        shown = {n: tuple(self._rows[row] for row in part.edges[n]) for n in uncertain}
        if part.size > MAX_EDGES:
            return _all(shown, EvidenceFinding.AMBIGUOUS, "too many rows and runs to tell apart")
        if part.of(RunCertainty.UNDER_WAY):
            return _all(shown, EvidenceFinding.PENDING, "another submit of the target is under way")
        certain = part.of(RunCertainty.CERTAIN)
        if any(not self._is_past_grace(self._claimants[number]) for number in certain):
            return _all(shown, EvidenceFinding.PENDING, "rows of other runs may still appear")
        if len(certain) > len(part.rows):
            return _all(shown, EvidenceFinding.UNKNOWN, "runs that ended have no row")
        if part.is_explained:
            return dict.fromkeys(uncertain, Assessment(finding=EvidenceFinding.NOT_STARTED))
        if len(certain) == len(part.rows):
            return _all(shown, EvidenceFinding.UNKNOWN, "rows and runs that ended do not fit")
        return _shared_out(part, shown)

    def _is_past_grace(self, run: RunOnRecord) -> bool:
        ended = run.ended_at if run.ended_at is not None else run.sent_at
        return ended + self._rules.grace_s <= self._reading.started_at

    # Proofs.

    def _problem_of_reading(self) -> str:
        """Why the reading cannot prove that a run has no row; empty if it may."""
        if any(row.user_id not in (None, self._rules.user_id) for row in self._reading.rows):
            return "the list has rows of another user"
        for run in self._named:
            due = run.sent_at + self._rules.grace_of(run.mode) <= self._reading.started_at
            if due and run.sent_at >= self._since and run.request_id not in self._row_of:
                return f"run {run.request_id} of job {run.job_id} has no row"
        return ""

    def _shown_runs(self, found_parts: Sequence[Part]) -> list[RunOnRecord]:
        """Runs on record that have a row, in parts that no uncertain submit is in."""
        shown = [run for run in self._named if run.request_id in self._row_of]
        for part in found_parts:
            if part.is_explained and not part.of(RunCertainty.UNCERTAIN):
                shown += [self._claimants[number] for number in part.of(RunCertainty.CERTAIN)]
        return shown

    def _orphans(self, found_parts: Sequence[Part]) -> list[UsageRow]:
        """The rows that nothing on record explains: no request id, and no run as their only one.

        A part with no more rows than submits explains those that name a submit's target as the app
        does, or the error code that it was answered with. Other names explain nothing.
        """
        explained: set[int] = set()
        for part in found_parts:
            if part.is_explained:
                explained.update(part.rows)
            elif len(part.rows) <= len(part.members):
                runs = [(self._claimants[n], part.edges[n]) for n in part.members]
                explained.update(
                    row
                    for run, possible in runs
                    for row in possible
                    if run.code is not None or run.target in self._rows[row].targets
                )
        return self._repeated + [
            row for number, row in enumerate(self._rows) if number not in explained
        ]

    def _id_window(self, run: RunOnRecord) -> tuple[float, float]:
        """The ids between which the row of a submit has to be, exclusive."""
        due_at = run.sent_at + self._rules.grace_of(run.mode)
        return self._windows.between(run.sent_at - self._rules.grace_s, due_at)

    def _reaches_back(self, run: RunOnRecord) -> bool:
        """Whether the reading shows everything since one grace before a submit."""
        if self._reading.is_whole:
            return True
        before = run.sent_at - self._rules.grace_s
        return any(
            _ended_by(named, before) for named in self._named if named.request_id in self._row_of
        )

    def _checked(
        self,
        submit: UncertainSubmit,
        found: Assessment,
        lacking: str,
        orphans: tuple[UsageRow, ...],
    ) -> Assessment:
        """The assessment, where everything holds that it needs."""
        read_at = self._reading.started_at
        if why := cannot_tell(submit, self._rules):
            return Assessment(
                finding=EvidenceFinding.UNKNOWN, note=why, rows=found.rows, is_final=True
            )
        if submit.request_id is not None and submit.request_id in self._row_of:
            own = (self._row_of[submit.request_id],)
            return Assessment(finding=EvidenceFinding.STARTED, rows=own, is_final=True)
        ripe_at = submit.sent_at + self._rules.grace_of(submit.mode)
        if read_at < ripe_at:
            note = "its row may still appear"
            return Assessment(finding=EvidenceFinding.PENDING, note=note, rows=found.rows)
        is_late = read_at >= ripe_at + DECIDE_WITHIN_S
        if found.finding is EvidenceFinding.NOT_STARTED and orphans:
            return Assessment(
                finding=EvidenceFinding.UNKNOWN,
                note=ORPHANS,
                rows=orphans,
                is_final=is_late,
                has_orphans=True,
            )
        if found.finding is EvidenceFinding.NOT_STARTED and not lacking:
            return Assessment(finding=EvidenceFinding.NOT_STARTED, is_final=True)
        if found.is_final or (found.finding is not EvidenceFinding.NOT_STARTED and not is_late):
            return found
        return Assessment(
            finding=EvidenceFinding.UNKNOWN,
            note=lacking if found.finding is EvidenceFinding.NOT_STARTED else found.note,
            rows=found.rows,
            is_final=is_late,
            lacks_depth=lacking == NOT_READ_BACK,
        )

    def _lacking(
        self,
        run: RunOnRecord,
        submit: UncertainSubmit,
        part: Part,
        shown: Sequence[RunOnRecord],
    ) -> str:
        """What is missing for `not_started`; empty where nothing is."""
        if submit.is_accepted:
            return "the provider accepted it, but the list has no row for it"
        if not self._reaches_back(run):
            return NOT_READ_BACK
        own_part = [self._claimants[n] for n in part.of(RunCertainty.CERTAIN)]
        later = [one for one in shown if _is_proof_for(one, run)]
        in_part = [one for one in own_part if part.is_explained and _is_proof_for(one, run)]
        if later or len(in_part) > len(part.of(RunCertainty.UNCERTAIN)):
            return ""
        return f"no later {run.mode.value} run of a {run.kind.value} has its row yet"


def _shared_out(part: Part, shown: Mapping[int, tuple[UsageRow, ...]]) -> dict[int, Assessment]:
    """A part has more rows than runs that surely have one: who has the spare ones."""
    started = essential(
        part.edges,
        part.of(RunCertainty.CERTAIN, RunCertainty.POSSIBLE, RunCertainty.UNCERTAIN),
    )
    many = len(shown)
    spare = min(many, len(part.rows) - len(part.of(RunCertainty.CERTAIN)))
    text = f"{spare} of these {many} started"
    return {
        number: Assessment(
            finding=EvidenceFinding.STARTED if number in started else EvidenceFinding.AMBIGUOUS,
            note="" if number in started else text,
            rows=rows,
            is_final=True,
        )
        for number, rows in shown.items()
    }


def _ended_by(run: RunOnRecord, at: float) -> bool:
    return run.ended_at is not None and run.ended_at <= at


def _is_proof_for(shown: RunOnRecord, run: RunOnRecord) -> bool:
    """Whether a run that has its row proves that one sent earlier would have one, too."""
    return shown.kind is run.kind and shown.mode is run.mode and shown.sent_at > run.sent_at


def _observed_names(
    named: Sequence[RunOnRecord], row_of: Mapping[str, UsageRow]
) -> dict[tuple[str, str], set[str]]:
    """By kind and target, the names that rows of its known runs have."""
    found: dict[tuple[str, str], set[str]] = {}
    for run in named:
        row = row_of.get(run.request_id or "")
        if row is not None:
            found.setdefault((run.kind.value, run.target), set()).update(row.targets)
    return found


def _all(
    shown: Mapping[int, tuple[UsageRow, ...]], finding: EvidenceFinding, note: str
) -> dict[int, Assessment]:
    is_final = finding is EvidenceFinding.AMBIGUOUS
    return {
        number: Assessment(finding=finding, note=note, rows=rows, is_final=is_final)
        for number, rows in shown.items()
    }
