"""What the provider's list of runs says about an uncertain submit, rule by rule."""

import math
from typing import Any, Final

import msgspec
import pytest

from jobs.evidence.assess import DECIDE_WITHIN_S, ORPHANS, EvidenceRules, assess
from jobs.evidence.id_windows import IdWindows
from jobs.evidence.matching import essential, maximum_matching, parts
from jobs.evidence.reading import CompleteReading, UsageReading, agree
from jobs.evidence.records import (
    Assessment,
    EvidenceFinding,
    SentAs,
    UncertainSubmit,
    is_late_row,
    merged,
)
from jobs.evidence.runs import RunCertainty, RunOnRecord
from jobs.states import Kind, Mode
from jobs.usage import UsageRow

T: Final = 1_000_000.0
"""When the uncertain submit was sent."""
HERE: Final = SentAs("https://knouds.ai", "u_1")
RULES: Final = EvidenceRules(
    base_url=HERE.base_url, user_id="u_1", grace_s=120.0, sync_timeout_s=600.0
)


def uncertain(
    job_id: str = "lost",
    at: float = T,
    *,
    mode: Mode = Mode.ASYNC,
    target: str = "suno",
    sent_as: SentAs | None = HERE,
    **facts: Any,
) -> RunOnRecord:
    submit = UncertainSubmit(number=1, mode=mode, sent_at=at, sent_as=sent_as, **facts)
    return RunOnRecord(
        job_id=job_id,
        kind=Kind.MODEL,
        target=target,
        mode=mode,
        sent_at=at,
        certainty=RunCertainty.UNCERTAIN,
        request_id=submit.request_id,
        submit=submit,
    )


def named(request_id: str, at: float, target: str = "suno", takes_s: float = 20.0) -> RunOnRecord:
    return RunOnRecord(
        job_id=f"job-{request_id}",
        kind=Kind.MODEL,
        target=target,
        mode=Mode.ASYNC,
        sent_at=at,
        certainty=RunCertainty.NAMED,
        ended_at=at + takes_s,
        request_id=request_id,
    )


def finished(at: float, duration_s: float, cost: float = 4.0) -> RunOnRecord:
    return RunOnRecord(
        job_id=f"sync-{at}",
        kind=Kind.MODEL,
        target="kling",
        mode=Mode.SYNC,
        sent_at=at,
        certainty=RunCertainty.CERTAIN,
        ended_at=at + duration_s,
        credits=cost,
        duration_s=duration_s,
        measured_s=duration_s,
    )


def row(number: int, at: float, request_id: str | None = None, **facts: Any) -> UsageRow:
    given: dict[str, Any] = {
        "targets": ("suno",),
        "status": "completed",
        "kind": Kind.MODEL,
        **facts,
    }
    return UsageRow(id=number, user_id="u_1", request_id=request_id, created_at=at, **given)


BEFORE: Final = named("before", T - 300)
AFTER: Final = named("after", T + 60)
BOOKS: Final = (row(1, T - 300, "before"), row(9, T + 60, "after"))


def finding(
    *runs: RunOnRecord,
    rows: tuple[UsageRow, ...] = (),
    read_at: float = T + 200,
    is_whole: bool = False,
    rules: EvidenceRules = RULES,
) -> Assessment:
    """What is found for job `lost`, beside a run before and a run after it."""
    reading = CompleteReading(read_at, (*BOOKS, *rows), is_whole)
    return assess((BEFORE, AFTER, *runs), reading, rules, T - 1)["lost", 1]


def test_no_row_for_it_in_full_books_is_not_started() -> None:
    assert finding(uncertain()) == Assessment(finding=EvidenceFinding.NOT_STARTED, is_final=True)


def test_a_row_that_no_run_on_record_explains_is_its_run() -> None:
    found = finding(uncertain(), rows=(row(5, T + 1, "r5"),))
    assert (found.finding, [r.request_id for r in found.rows]) == (EvidenceFinding.STARTED, ["r5"])


def test_before_the_grace_has_passed_nothing_is_found() -> None:
    """The grace of a sync run covers the longest run: its row may come with its end."""
    assert finding(uncertain(), read_at=T + 119).finding is EvidenceFinding.PENDING
    sync = uncertain(mode=Mode.SYNC)
    assert finding(sync, read_at=T + 719).finding is EvidenceFinding.PENDING


@pytest.mark.parametrize("facts", [{"is_accepted": True}, {"is_accepted": True, "request_id": "x"}])
def test_an_accepted_submit_is_never_not_started(facts: dict[str, Any]) -> None:
    """Its polls found nothing, and so does the list: that proves nothing."""
    assert finding(uncertain(**facts)).finding is EvidenceFinding.UNKNOWN


def test_the_row_of_its_own_request_id_is_its_run() -> None:
    found = finding(uncertain(is_accepted=True, request_id="own"), rows=(row(5, T, "own"),))
    assert (found.finding, [r.id for r in found.rows]) == (EvidenceFinding.STARTED, [5])


@pytest.mark.parametrize(
    "sent_as",
    [
        None,
        SentAs("https://knouds.ai", None),
        SentAs("https://knouds.ai", "u_2"),
        SentAs("https://elsewhere", "u_1"),
    ],
)
def test_only_the_list_of_the_user_it_was_sent_as_is_evidence(sent_as: SentAs | None) -> None:
    """The key under its label was exchanged since: these books are foreign and empty."""
    found = finding(uncertain(sent_as=sent_as))
    assert (found.finding, found.is_final) == (EvidenceFinding.UNKNOWN, True)


def test_a_list_with_rows_of_another_user_is_no_evidence() -> None:
    other = msgspec.structs.replace(row(4, T, "x"), user_id="u_2", targets=("other",))
    assert finding(uncertain(), rows=(other,)).finding is not EvidenceFinding.NOT_STARTED


def test_an_account_that_other_programs_use_is_unknown() -> None:
    shared = EvidenceRules(
        base_url=HERE.base_url, user_id="u_1", grace_s=120, sync_timeout_s=600, is_shared=True
    )
    assert finding(uncertain(), rules=shared).finding is EvidenceFinding.UNKNOWN


def test_a_row_under_another_name_counts_until_the_name_of_the_target_is_known() -> None:
    """The list may name the model differently; a run with the same request id shows the name."""
    alias = row(5, T + 1, "r5", targets=("kling-v2-turbo",))
    lost = uncertain(target="kling")
    assert finding(lost, rows=(alias,)).finding is EvidenceFinding.STARTED
    known = named("k", T + 70, target="kling")
    books = (alias, row(10, T + 70, "k", targets=("kling-v2",)))
    found = finding(lost, known, rows=books)
    assert (found.finding, found.note) == (EvidenceFinding.UNKNOWN, ORPHANS)


@pytest.mark.parametrize(
    "facts",
    [
        {"targets": ("KLING",)},
        {"targets": ("kling-fallback",)},
        {"kind": Kind.WORKFLOW, "targets": ("something",)},
        {"created_at": T - 7_200},
        {"created_at": T + 7_200},
        {"request_id": "k"},
    ],
    ids=["upper case", "another model", "another kind", "hours early", "hours late", "repeated id"],
)
def test_a_row_that_no_run_on_record_can_have_caused_may_be_its_run(facts: dict[str, Any]) -> None:
    """Names, times and ids of rows are not guaranteed; only that ids grow row by row."""
    lost, known = uncertain(target="kling"), named("k", T + 70, target="kling")
    strange = msgspec.structs.replace(row(5, T + 1, "r5", targets=("kling",)), **facts)
    books = (strange, row(10, T + 70, "k", targets=("kling",)))
    found = finding(lost, known, rows=books)
    assert (found.finding, found.has_orphans) == (EvidenceFinding.UNKNOWN, True)
    assert strange in found.rows
    clean = finding(lost, known, rows=books[1:])
    assert clean.finding is EvidenceFinding.NOT_STARTED


def test_rows_before_and_after_its_own_time_by_their_ids_are_no_evidence() -> None:
    lost, known = uncertain(target="kling"), named("k", T + 70, target="kling")
    after = named("z", T + 130, target="kling")
    books = (
        row(0, T, "r0", targets=("x",)),
        row(10, T + 70, "k", targets=("kling",)),
        row(12, T + 130, "z", targets=("kling",)),
        row(13, T, "r13", targets=("y",)),
    )
    assert finding(lost, known, after, rows=books).finding is EvidenceFinding.NOT_STARTED


def test_a_strange_row_withdraws_not_started_and_counts_as_late() -> None:
    before = UncertainSubmit(
        number=1,
        mode=Mode.ASYNC,
        sent_at=T,
        finding=EvidenceFinding.NOT_STARTED,
        is_final=True,
    )
    less = Assessment(finding=EvidenceFinding.UNKNOWN)
    assert merged(before, less, T).finding is EvidenceFinding.NOT_STARTED
    strange = Assessment(finding=EvidenceFinding.UNKNOWN, rows=(row(5, T, "r5"),), has_orphans=True)
    after = merged(before, strange, T)
    assert after.finding is EvidenceFinding.UNKNOWN
    assert is_late_row(before, after)


def test_the_provider_s_clock_may_be_wrong() -> None:
    """Rows with equal request ids show by how much; the window moves with it."""
    reading = CompleteReading(
        T + 200, (row(1, T - 1_200, "before"), row(9, T - 840, "after"), row(5, T - 899)), False
    )
    found = assess((BEFORE, AFTER, uncertain()), reading, RULES, T)["lost", 1]
    assert found.finding is EvidenceFinding.STARTED


def test_a_read_that_does_not_reach_back_proves_nothing() -> None:
    """It has to reach a run that had ended one grace before the submit, or the first row."""
    late = named("before", T - 130, takes_s=20)
    reading = CompleteReading(T + 200, BOOKS, False)
    found = assess((late, AFTER, uncertain()), reading, RULES, T)["lost", 1]
    assert found.finding is EvidenceFinding.UNKNOWN
    whole = CompleteReading(T + 200, BOOKS, True)
    found = assess((late, AFTER, uncertain()), whole, RULES, T)["lost", 1]
    assert found.finding is EvidenceFinding.NOT_STARTED


def test_without_a_later_run_that_has_its_row_it_is_unknown_and_stays_open_for_a_while() -> None:
    def found(read_at: float) -> Assessment:
        reading = CompleteReading(read_at, BOOKS[:1], True)
        return assess((BEFORE, uncertain()), reading, RULES, T)["lost", 1]

    assert (found(T + 200).finding, found(T + 200).is_final) == (EvidenceFinding.UNKNOWN, False)
    assert found(T + 120 + DECIDE_WITHIN_S).is_final


def test_a_run_on_record_without_its_row_shows_that_rows_lag() -> None:
    missing = named("missing", T + 20)
    assert finding(uncertain(), missing).finding is EvidenceFinding.UNKNOWN
    recent = named("recent", T + 190)
    assert finding(uncertain(), recent).finding is EvidenceFinding.NOT_STARTED


def test_fewer_rows_than_submits_are_ambiguous() -> None:
    """Two of three uncertain submits started, and nothing tells which."""
    lost = [uncertain(), uncertain("b", T + 5), uncertain("c", T + 9)]
    rows = (row(4, T + 6, "x"), row(5, T + 8, "y"))
    found = finding(*lost, rows=rows)
    assert (found.finding, found.note) == (EvidenceFinding.AMBIGUOUS, "2 of these 3 started")
    assert len(found.rows) == 2
    assert finding(*lost[:2], rows=rows).finding is EvidenceFinding.STARTED


def test_a_submit_of_a_discarded_job_still_claims_its_row() -> None:
    """Otherwise the row of the discarded one would be taken for the other's."""
    discarded = uncertain("discarded", T + 1)
    assert (
        finding(uncertain(), discarded, rows=(row(5, T, "x"),)).finding is EvidenceFinding.AMBIGUOUS
    )


def sync_finding(*runs: RunOnRecord, rows: tuple[UsageRow, ...], read_at: float) -> Assessment:
    lost = uncertain(mode=Mode.SYNC, target="kling")
    reading = CompleteReading(read_at, (*BOOKS, *rows), True)
    return assess((BEFORE, AFTER, lost, *runs), reading, RULES, T)["lost", 1]


def sync_row(number: int, at: float, duration_s: float, cost: float = 4.0) -> UsageRow:
    return row(number, at, f"s{number}", targets=("kling",), duration_s=duration_s, credits=cost)


def test_a_sync_answer_explains_one_row_by_credits_and_duration() -> None:
    answers = (finished(T + 2, 30.0), finished(T + 300, 41.0))
    rows = (sync_row(20, T + 32, 30.0), sync_row(21, T + 341, 41.0))
    assert sync_finding(*answers, rows=rows, read_at=T + 900).finding is EvidenceFinding.NOT_STARTED
    spare = (*rows, sync_row(22, T + 33, 30.0))
    assert sync_finding(*answers, rows=spare, read_at=T + 900).finding is EvidenceFinding.STARTED


@pytest.mark.parametrize(("duration_s", "cost"), [(44.0, 4.0), (30.0, 5.0)])
def test_a_row_that_differs_from_the_answer_is_not_explained_by_it(
    duration_s: float, cost: float
) -> None:
    answers = (finished(T + 2, 30.0), finished(T + 300, 41.0))
    rows = (sync_row(20, T + 32, duration_s, cost), sync_row(21, T + 341, 41.0))
    found = sync_finding(*answers, rows=rows, read_at=T + 900)
    assert found.finding is not EvidenceFinding.NOT_STARTED


def test_the_row_of_an_answer_may_still_lag() -> None:
    """Its run ended a moment ago: the row that fits it may be that of the uncertain submit."""
    answers = (finished(T + 2, 30.0), finished(T + 600, 250.0))
    rows = (sync_row(20, T + 32, 30.0), sync_row(21, T + 610, 250.0))
    assert sync_finding(*answers, rows=rows, read_at=T + 860).finding is EvidenceFinding.PENDING


def test_an_error_answer_and_an_uncertain_submit_share_a_failed_row() -> None:
    """An answered 500 may have a row or none: the row proves nothing about either."""
    failed = RunOnRecord(
        job_id="f",
        kind=Kind.MODEL,
        target="suno",
        mode=Mode.ASYNC,
        sent_at=T + 1,
        certainty=RunCertainty.POSSIBLE,
        ended_at=T + 2,
        code="EXECUTION_FAILED",
    )
    rows = (row(5, T + 1, "x", status="failed", code="EXECUTION_FAILED"),)
    assert finding(uncertain(), failed, rows=rows).finding is EvidenceFinding.AMBIGUOUS


def test_a_submit_under_way_makes_rows_wait() -> None:
    under_way = RunOnRecord(
        job_id="w",
        kind=Kind.MODEL,
        target="suno",
        mode=Mode.ASYNC,
        sent_at=T + 100,
        certainty=RunCertainty.UNDER_WAY,
    )
    assert (
        finding(uncertain(), under_way, rows=(row(5, T + 100, "x"),)).finding
        is EvidenceFinding.PENDING
    )


def test_findings_are_never_withdrawn_without_a_row() -> None:
    submit = UncertainSubmit(number=1, mode=Mode.ASYNC, sent_at=T)
    says = {kind: Assessment(finding=kind) for kind in EvidenceFinding}
    for seen in (EvidenceFinding.STARTED, EvidenceFinding.AMBIGUOUS):
        had = merged(submit, says[seen], T)
        for later in (
            EvidenceFinding.NOT_STARTED,
            EvidenceFinding.UNKNOWN,
            EvidenceFinding.PENDING,
        ):
            assert merged(had, says[later], T + 1).finding is seen
    had = merged(submit, says[EvidenceFinding.NOT_STARTED], T)
    assert merged(had, says[EvidenceFinding.UNKNOWN], T + 1).finding is EvidenceFinding.NOT_STARTED
    assert merged(had, says[EvidenceFinding.STARTED], T + 1).finding is EvidenceFinding.STARTED


def test_a_row_after_not_started_is_late() -> None:
    had = UncertainSubmit(number=1, mode=Mode.ASYNC, sent_at=T, finding=EvidenceFinding.NOT_STARTED)
    assert is_late_row(had, merged(had, Assessment(finding=EvidenceFinding.STARTED), T))
    assert not is_late_row(had, merged(had, Assessment(finding=EvidenceFinding.NOT_STARTED), T))


# Reading.


def read(pages: list[list[int]], total: int | None = None, overlap: int = 1) -> UsageReading:
    reading = UsageReading(floor_at=0, started_at=T, page_rows=3, overlap=overlap)
    for page in pages:
        reading.add([row(n, T + n) for n in page], total, is_complete=True)
    return reading


def test_pages_overlap_until_every_row_is_read() -> None:
    done = read([[5, 4, 3], [3, 2, 1]], total=5)
    result = done.result()
    assert result is not None
    assert (result.is_whole, result.lowest_id, result.highest_id) == (True, 1, 5)


def test_pages_that_moved_leave_a_gap_and_the_reading_is_void() -> None:
    assert read([[9, 8, 7], [5, 4, 3]], total=9).result() is None
    assert read([[9, 8, 7], []], total=9).result() is None


def test_an_empty_list_is_read_in_full_only_if_it_says_so() -> None:
    whole = read([[]], total=0).result()
    assert whole is not None
    assert whole.is_whole
    assert read([[]], total=3).result() is None


def test_another_order_than_newest_first_has_to_be_read_to_the_end() -> None:
    reading = UsageReading(floor_at=T + 4, started_at=T, page_rows=3, overlap=1)
    reading.add([row(n, T + n) for n in (3, 4, 5)], 9, is_complete=True)
    assert not reading.is_done
    descending = UsageReading(floor_at=T + 4, started_at=T, page_rows=3, overlap=1)
    descending.add([row(n, T + n) for n in (5, 4, 3)], 9, is_complete=True)
    assert descending.is_done


def test_a_page_with_a_row_that_cannot_be_told_apart_voids_the_reading() -> None:
    reading = UsageReading(floor_at=0, started_at=T)
    reading.add([], 1, is_complete=False)
    assert reading.result() is None


def test_two_readings_agree_when_they_show_the_same_rows() -> None:
    def reading(*ids: int, whole: bool = False) -> CompleteReading:
        return CompleteReading(T, tuple(row(n, T) for n in ids), whole)

    assert agree(reading(5, 4, 3), reading(7, 6, 5, 4, 3))
    assert not agree(reading(5, 3), reading(5, 4, 3))
    assert not agree(reading(5, 4, 3), reading(5, 3))
    assert agree(reading(5, 4, 3), reading(5, 4))
    assert not agree(reading(2, whole=True), reading(2, 1, whole=True))


# Matching.


def test_parts_are_what_possible_matches_connect() -> None:
    assert parts([[0], [0, 1], [2], []], 4) == [([0, 1], [0, 1]), ([2], [2]), ([3], [])]


def test_a_largest_assignment_moves_claimants_to_other_rows() -> None:
    edges = [[0, 1], [0], [1, 2]]
    assert maximum_matching(edges, [0, 1, 2]) == {0: 1, 1: 0, 2: 2}


def test_essential_claimants_have_a_row_in_every_largest_assignment() -> None:
    assert essential([[0], [0, 1], [1], [2]], [0, 1, 2, 3]) == {3}
    assert essential([[0], [0, 1], [1]], [0, 1]) == {0, 1}


def test_a_row_lies_between_those_of_runs_before_and_after_its_submit() -> None:
    shown = [(named("a", 10, takes_s=5), 3), (named("b", 20, takes_s=50), 4), (named("c", 40), 9)]
    windows = IdWindows(shown)
    assert windows.between(15, 40) == (3, 9)
    assert windows.between(14, 41) == (-math.inf, math.inf)
    assert windows.between(100, 15) == (9, 4)
    assert IdWindows(()).between(0, 0) == (-math.inf, math.inf)


def test_a_row_that_another_submit_claims_by_its_time_alone_may_still_be_its_run() -> None:
    """Its row is an hour off and so fits a submit of that time, but not by the order of the ids."""
    lost, other = uncertain(), uncertain("other", T + 3_600)
    between = (named("m", T + 200), named("n", T + 3_400), named("z", T + 3_660))
    books = (
        row(5, T + 3_600, "r5"),
        row(10, T + 200, "m"),
        row(20, T + 3_400, "n"),
        row(21, T + 3_600, "fallback", targets=("x",)),
        row(30, T + 3_660, "z"),
    )
    found = finding(lost, other, *between, rows=books, read_at=T + 4_000)
    assert found.finding is EvidenceFinding.UNKNOWN
