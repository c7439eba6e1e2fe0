"""What an error of the provider means: its documented table and our own, restated as data."""

from string import Formatter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.error_table import (
    ACTION_MANUAL,
    ACTION_SPENT,
    ACTION_STUCK,
    ACTION_UNCERTAIN,
    ANYTHING_ELSE,
    IN_A_FAILED_RUN,
    OTHER_4XX,
    TABLE,
    Disposition,
    Reach,
    Verdict,
    Verdicts,
    action_text,
    reach_of,
)
from jobs.lanes import Lane
from jobs.outcomes import Fault
from jobs.states import Kind

LANE = Lane("studio", Kind.MODEL, "suno")
PLAIN = Verdicts(overrides={})

DOCUMENTED = """
400 ASYNC_NOT_SUPPORTED           sync       -
400 INVALID_INPUTS                dead       -
400 INVALID_SLUG                  dead       -
400 INVALID_BODY                  dead       -
400 INVALID_CAPABILITY            dead       -
400 INVALID_SCOPE                 dead       -
401 -                             park       studio
401 LEGACY_KEY_RETIRED            park       studio
402 INSUFFICIENT_CREDITS          park       studio
402 grant_exhausted               park       studio/model/suno
403 CAPABILITY_DENIED             park       studio/model
403 SCOPE_DENIED                  park       studio/model
403 CAPABILITY_ABOVE_CEILING      park       studio/model/suno
403 API_KEY_ACCESS_DENIED         park       studio
403 MODEL_TIER_REQUIRED           park       studio/model/suno
403 WORKFLOW_CAP_REACHED          park       studio/model/suno
404 MODEL_NOT_FOUND               dead       -
404 EXECUTION_NOT_FOUND           dead       -
404 -                             dead       -
429 RATE_LIMIT_EXCEEDED           wait       -
500 EXECUTION_FAILED              retry      -
500 PROVIDER_SUBMIT_FAILED        retry      -
500 PROVIDER_RESPONSE_INCOMPLETE  retry      -
"""

UNKNOWN = """
302 -                             uncertain  -
304 NEW_CODE                      uncertain  -
400 -                             dead       -
400 NEW_CODE                      dead       -
401 NEW_CODE                      park       studio
402 -                             park       studio
402 NEW_CODE                      park       studio
402 GRANT_EXHAUSTED               park       studio
403 -                             park       studio/model/suno
403 NEW_CODE                      park       studio/model/suno
404 NEW_CODE                      dead       -
405 -                             dead       -
409 NEW_CODE                      dead       -
418 -                             dead       -
422 -                             dead       -
422 NEW_CODE                      dead       -
429 -                             wait       -
429 NEW_CODE                      wait       -
499 -                             dead       -
500 -                             retry      -
500 NEW_CODE                      retry      -
501 -                             uncertain  -
502 -                             uncertain  -
502 EXECUTION_FAILED              uncertain  -
503 -                             cool       -
503 NEW_CODE                      cool       -
504 -                             uncertain  -
504 NEW_CODE                      uncertain  -
505 NEW_CODE                      uncertain  -
520 -                             uncertain  -
599 -                             uncertain  -
"""

Row = tuple[int, str | None, Disposition, str | None]


def _rows(text: str) -> list[Row]:
    split = [line.split() for line in text.strip().splitlines()]
    return [
        (
            int(status),
            None if code == "-" else code,
            Disposition(what),
            None if scope == "-" else scope,
        )
        for status, code, what, scope in split
    ]


def _name(value: object) -> str:
    return "-" if value is None else str(value)


@pytest.mark.parametrize(
    ("status", "code", "disposition", "scope"), _rows(DOCUMENTED) + _rows(UNKNOWN), ids=_name
)
def test_an_answer_to_a_submit_means(
    status: int, code: str | None, disposition: Disposition, scope: str | None
) -> None:
    fault = Fault(code, http_status=status)
    verdict = PLAIN.on_call(fault)
    assert verdict.disposition is disposition
    assert (verdict.reach is not None) is (disposition is Disposition.PARK)
    if scope is not None:
        assert reach_of(verdict, fault, LANE) == scope


def test_the_table_knows_every_documented_row() -> None:
    known = {(row.http_status, row.code) for row in TABLE}
    documented = {(status, code) for status, code, _, _ in _rows(DOCUMENTED)}
    unknown_of_a_status = {(status, None) for status in (402, 403, 429, 500, 502, 503, 504)}
    assert known == documented | unknown_of_a_status
    assert len(known) == len(TABLE)


@pytest.mark.parametrize("code", [None, "EXECUTION_FAILED", "PROVIDER_SUBMIT_FAILED"])
def test_an_unreadable_500_says_nothing_about_the_run(code: str | None) -> None:
    assert PLAIN.on_call(Fault(code, http_status=500)).disposition is Disposition.RETRY
    unreadable = Fault(code, http_status=500, readable=False)
    assert PLAIN.on_call(unreadable).disposition is Disposition.UNCERTAIN


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422, 429, 503])
def test_any_other_status_speaks_for_itself_when_its_body_does_not(status: int) -> None:
    readable, unreadable = (Fault(None, http_status=status, readable=r) for r in (True, False))
    assert PLAIN.on_call(unreadable) == PLAIN.on_call(readable)


def test_a_fault_without_a_status_is_outside_the_contract() -> None:
    assert PLAIN.on_call(Fault("EXECUTION_FAILED")) is ANYTHING_ELSE


# The error inside a failed run.


@pytest.mark.parametrize(
    ("code", "disposition"),
    [
        ("EXECUTION_FAILED", Disposition.RETRY),
        ("PROVIDER_SUBMIT_FAILED", Disposition.RETRY),
        ("PROVIDER_RESPONSE_INCOMPLETE", Disposition.RETRY),
        ("INVALID_INPUTS", Disposition.DEAD),
        ("MODEL_NOT_FOUND", Disposition.DEAD),
        ("INSUFFICIENT_CREDITS", Disposition.PARK),
        ("grant_exhausted", Disposition.PARK),
        ("LEGACY_KEY_RETIRED", Disposition.PARK),
        ("MODEL_TIER_REQUIRED", Disposition.PARK),
        ("RATE_LIMIT_EXCEEDED", Disposition.RETRY),
        ("ASYNC_NOT_SUPPORTED", Disposition.RETRY),
        ("NEW_CODE", Disposition.RETRY),
        ("", Disposition.RETRY),
        (None, Disposition.RETRY),
    ],
    ids=_name,
)
def test_a_failed_run_is_judged_by_its_code(code: str | None, disposition: Disposition) -> None:
    assert PLAIN.on_failed_run(Fault(code)).disposition is disposition


@pytest.mark.parametrize("status", [400, 402, 404, 502])
def test_a_status_inside_a_failed_run_is_not_the_answer_to_a_call(status: int) -> None:
    fault = Fault("NEW_CODE", http_status=status)
    assert PLAIN.on_failed_run(fault) is IN_A_FAILED_RUN


# Overrides.


@pytest.mark.parametrize("disposition", list(Disposition))
def test_settings_override_a_row_by_its_code(disposition: Disposition) -> None:
    ruled = Verdicts(overrides={"INVALID_INPUTS": disposition, "HTTP_502": disposition})
    assert ruled.on_call(Fault("INVALID_INPUTS", http_status=400)).disposition is disposition
    assert ruled.on_call(Fault(None, http_status=502)).disposition is disposition
    assert ruled.on_failed_run(Fault("INVALID_INPUTS")).disposition is disposition
    assert ruled.on_call(Fault("INVALID_BODY", http_status=400)).disposition is Disposition.DEAD


def test_a_row_overridden_to_park_has_a_scope_and_an_action() -> None:
    ruled = Verdicts(overrides={"EXECUTION_FAILED": Disposition.PARK})
    fault = Fault("EXECUTION_FAILED", http_status=500)
    verdict = ruled.on_call(fault)
    assert reach_of(verdict, fault, LANE) == str(LANE)
    assert action_text(verdict, fault, LANE)


def test_an_override_that_changes_nothing_keeps_the_row() -> None:
    fault = Fault("INSUFFICIENT_CREDITS", http_status=402)
    same = Verdicts(overrides={"INSUFFICIENT_CREDITS": Disposition.PARK})
    assert same.on_call(fault) is PLAIN.on_call(fault)


def test_no_override_makes_an_unreadable_500_trustworthy() -> None:
    ruled = Verdicts(overrides={"HTTP_500": Disposition.RETRY})
    assert ruled.on_call(Fault(None, http_status=500, readable=False)) is ANYTHING_ELSE


# How far a hold reaches.


@pytest.mark.parametrize("code", ["CAPABILITY_DENIED", "SCOPE_DENIED"])
@pytest.mark.parametrize(
    ("required", "scope"),
    [
        (None, "studio/model"),
        ("model:run", "studio/model"),
        ("workflow:run", "studio/model"),
        ("model:suno:run", "studio/model/suno"),
        ("model:other:run", "studio/model"),
        ("execution:suno:run", "studio/model"),
        ("model:suno:run:more", "studio/model"),
        ("::", "studio/model"),
        ("", "studio/model"),
    ],
    ids=_name,
)
def test_a_missing_capability_closes_the_route_unless_it_names_the_target(
    code: str, required: str | None, scope: str
) -> None:
    fault = Fault(code, http_status=403, required=required)
    assert reach_of(PLAIN.on_call(fault), fault, LANE) == scope


@pytest.mark.parametrize("code", ["INSUFFICIENT_CREDITS", "grant_exhausted"])
def test_only_a_missing_capability_is_narrowed_by_what_is_required(code: str) -> None:
    fault = Fault(code, http_status=402, required="model:suno:run")
    verdict = PLAIN.on_call(fault)
    account, _, target = LANE.scopes
    expected = account if verdict.reach is Reach.ACCOUNT else target
    assert reach_of(verdict, fault, LANE) == expected


# What a person is told.

PARKING = [row for row in TABLE if row.disposition is Disposition.PARK]
DYING = [row for row in (*TABLE, OTHER_4XX) if row.disposition is Disposition.DEAD]


def _label(row: Verdict) -> str:
    return f"{row.http_status}-{row.code}"


@pytest.mark.parametrize("row", PARKING + DYING, ids=_label)
def test_who_parks_or_buries_says_what_a_person_must_do(row: Verdict) -> None:
    assert row.action
    assert row.meaning


@pytest.mark.parametrize("row", PARKING, ids=_label)
def test_who_parks_says_that_the_hold_has_to_be_released(row: Verdict) -> None:
    assert "release the hold" in action_text(row, Fault(row.code), LANE)
    assert row.where is None or row.where.startswith("/")


def told(status: int, code: str | None, required: str | None = None) -> str:
    fault = Fault(code, http_status=status, required=required)
    return action_text(PLAIN.on_call(fault), fault, LANE).lower()


def test_without_credits_a_top_up_helps() -> None:
    assert "top up account studio" in told(402, "INSUFFICIENT_CREDITS")
    assert (
        PLAIN.on_call(Fault("INSUFFICIENT_CREDITS", http_status=402)).where == "/settings/billing"
    )


@pytest.mark.parametrize(
    ("status", "code"), [(402, "grant_exhausted"), (403, "MODEL_TIER_REQUIRED")]
)
def test_where_the_plan_is_too_small_a_top_up_does_not_help(status: int, code: str) -> None:
    text = told(status, code)
    assert text.startswith("upgrade the")
    assert "a top-up does not help" in text
    assert "top up" not in text
    assert PLAIN.on_call(Fault(code, http_status=status)).where == "/pricing"


@pytest.mark.parametrize(
    ("required", "named"), [("model:suno:run", "model:suno:run"), (None, "model:run")]
)
def test_who_lacks_a_capability_is_told_which(required: str | None, named: str) -> None:
    assert f"capability {named}" in told(403, "CAPABILITY_DENIED", required)
    assert f"scope {named}" in told(403, "SCOPE_DENIED", required)


@pytest.mark.parametrize(
    ("code", "words"), [(None, "valid api key"), ("LEGACY_KEY_RETIRED", "regenerate")]
)
def test_a_bad_key_is_named_with_its_account(code: str | None, words: str) -> None:
    assert words in told(401, code)
    assert "account studio" in told(401, code)


@pytest.mark.parametrize("row", [*TABLE, OTHER_4XX, IN_A_FAILED_RUN, ANYTHING_ELSE], ids=_label)
def test_a_text_asks_only_for_names_that_are_filled_in(row: Verdict) -> None:
    names = {name for _, name, _, _ in Formatter().parse(row.action) if name is not None}
    assert names <= {"required", "target", "account"}


@pytest.mark.parametrize(
    "text", [ACTION_UNCERTAIN, ACTION_STUCK, ACTION_MANUAL, ACTION_SPENT], ids=lambda t: t[:12]
)
def test_our_own_reasons_have_an_action_too(text: str) -> None:
    assert text
    assert "{" not in text


def test_who_is_uncertain_is_warned_that_a_resubmit_may_charge_twice() -> None:
    assert "resubmit (may charge twice)" in ACTION_UNCERTAIN


@settings(max_examples=40, database=None)
@given(
    code=st.none() | st.text(max_size=8),
    status=st.none() | st.integers(100, 999),
    required=st.none() | st.text(alphabet="{}:%a", max_size=8),
    readable=st.booleans(),
)
def test_no_fault_is_without_a_verdict(
    code: str | None, status: int | None, required: str | None, *, readable: bool
) -> None:
    fault = Fault(code, "{0} {nope}", status, required=required, readable=readable)
    for verdict in (PLAIN.on_call(fault), PLAIN.on_failed_run(fault)):
        action_text(verdict, fault, LANE)
        assert reach_of(verdict, fault, LANE) in LANE.scopes
    assert fault.name


@pytest.mark.parametrize(
    ("fault", "name"),
    [
        (Fault("grant_exhausted", http_status=402), "grant_exhausted"),
        (Fault(None, http_status=403), "HTTP_403"),
        (Fault(None), "UNKNOWN"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_a_fault_is_named_by_the_providers_code_letter_for_letter(fault: Fault, name: str) -> None:
    assert fault.name == name
