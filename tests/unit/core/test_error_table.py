"""What an error of the provider means: its documented table and ours, restated as data."""

from string import Formatter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.error_table import (
    ACTION_ATTEMPTS_SPENT,
    ACTION_MANUAL,
    ACTION_STUCK,
    ACTION_UNCERTAIN,
    GENERIC_RULES,
    OTHER_4XX,
    OUTSIDE_CONTRACT,
    UNKNOWN_IN_FAILED_RUN,
    Disposition,
    ErrorRule,
    ErrorTable,
    Reach,
    action_text,
    hold_scope,
)
from jobs.lanes import Lane
from jobs.outcomes import ProviderError
from jobs.states import Kind
from worker.provider.knouds.error_rows import ERROR_RULES

LANE = Lane("studio", Kind.MODEL, "suno")
WITHOUT_OVERRIDES = ErrorTable(ERROR_RULES)

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
200 INSUFFICIENT_CREDITS          park       studio
200 EXECUTION_FAILED              retry      -
200 INVALID_INPUTS                dead       -
200 RATE_LIMIT_EXCEEDED           wait       -
200 NEW_CODE                      uncertain  -
300 -                             uncertain  -
301 -                             park       studio
302 -                             park       studio
302 EXECUTION_FAILED              park       studio
303 -                             uncertain  -
303 EXECUTION_FAILED              uncertain  -
304 NEW_CODE                      uncertain  -
307 -                             park       studio
308 -                             park       studio
400 -                             dead       -
400 NEW_CODE                      dead       -
400 INSUFFICIENT_CREDITS          park       studio
400 EXECUTION_FAILED              retry      -
401 MODEL_NOT_FOUND               park       studio
403 INSUFFICIENT_CREDITS          park       studio
403 EXECUTION_FAILED              park       studio/model/suno
408 -                             uncertain  -
408 EXECUTION_FAILED              uncertain  -
413 -                             dead       -
413 EXECUTION_FAILED              dead       -
414 -                             dead       -
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
429 EXECUTION_FAILED              wait       -
429 INSUFFICIENT_CREDITS          park       studio
431 -                             dead       -
499 -                             dead       -
500 -                             retry      -
500 NEW_CODE                      retry      -
501 -                             uncertain  -
502 -                             uncertain  -
500 INSUFFICIENT_CREDITS          park       studio
502 EXECUTION_FAILED              uncertain  -
502 INSUFFICIENT_CREDITS          park       studio
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
    error = ProviderError(code, http_status=status)
    rule = WITHOUT_OVERRIDES.rule_for_submit(error)
    assert rule.disposition is disposition
    assert (rule.reach is not None) is (disposition is Disposition.PARK)
    if scope is not None:
        assert hold_scope(rule, error, LANE) == scope


def test_the_table_knows_every_documented_row() -> None:
    known = {(row.http_status, row.code) for row in WITHOUT_OVERRIDES.rules}
    documented = {(status, code) for status, code, _, _ in _rows(DOCUMENTED)}
    statuses = (301, 302, 303, 307, 308, 402, 403, 408, 413, 414, 429, 431, 500, 502, 503, 504)
    assert known == documented | {(status, None) for status in statuses} | {(401, "no_key")}
    assert len({(row.http_status, row.code) for row in ERROR_RULES}) == len(ERROR_RULES)


@pytest.mark.parametrize(
    ("status", "scope"), [(401, "studio"), (402, "studio"), (403, "studio/model/suno")]
)
def test_a_table_without_rows_still_parks_what_an_operator_has_to_clear(
    status: int, scope: str
) -> None:
    error = ProviderError("NEW_CODE", http_status=status)
    rule = ErrorTable().rule_for_submit(error)
    assert rule.disposition is Disposition.PARK
    assert hold_scope(rule, error, LANE) == scope
    assert rule.action


@pytest.mark.parametrize("code", [None, "EXECUTION_FAILED", "PROVIDER_SUBMIT_FAILED"])
def test_an_unreadable_500_says_nothing_about_the_run(code: str | None) -> None:
    assert (
        WITHOUT_OVERRIDES.rule_for_submit(ProviderError(code, http_status=500)).disposition
        is Disposition.RETRY
    )
    unreadable = ProviderError(code, http_status=500, is_readable=False)
    assert WITHOUT_OVERRIDES.rule_for_submit(unreadable).disposition is Disposition.UNCERTAIN


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422, 429, 503])
def test_any_other_status_speaks_for_itself_when_its_body_does_not(status: int) -> None:
    readable, unreadable = (
        ProviderError(None, http_status=status, is_readable=r) for r in (True, False)
    )
    assert WITHOUT_OVERRIDES.rule_for_submit(unreadable) == WITHOUT_OVERRIDES.rule_for_submit(
        readable
    )


def test_an_error_without_a_status_is_outside_the_contract() -> None:
    assert WITHOUT_OVERRIDES.rule_for_submit(ProviderError("NEW_CODE")) is OUTSIDE_CONTRACT


@pytest.mark.parametrize(
    "status", [200, 400, 403, 404, 405, 406, 407, 409, 410, 421, 422, 425, 426, 428, 444, 451, 511]
)
def test_a_page_means_that_the_api_was_not_reached(status: int) -> None:
    error = ProviderError(None, http_status=status, is_readable=False, is_page=True)
    rule = WITHOUT_OVERRIDES.rule_for_submit(error)
    assert (rule.disposition, rule.own_code) == (Disposition.HOLD, "not_the_api")
    assert hold_scope(rule, error, LANE) == "studio"


@pytest.mark.parametrize(
    ("status", "what"),
    [
        (401, "park"),
        (402, "park"),
        (408, "uncertain"),
        (413, "dead"),
        (414, "dead"),
        (429, "wait"),
        (431, "dead"),
        (502, "uncertain"),
    ],
)
def test_a_page_of_another_status_counts_by_its_status(status: int, what: str) -> None:
    error = ProviderError(None, http_status=status, is_readable=False, is_page=True)
    assert WITHOUT_OVERRIDES.rule_for_submit(error).disposition == what


@pytest.mark.parametrize(("body_sent", "what"), [(True, "uncertain"), (False, "not_sent")])
def test_a_408_counts_as_not_sent_if_it_came_before_the_request_was_written(
    what: str, *, body_sent: bool
) -> None:
    error = ProviderError(None, http_status=408, body_sent=body_sent)
    assert WITHOUT_OVERRIDES.rule_for_submit(error).disposition == what


def test_a_redirect_names_the_setting_and_where_it_leads() -> None:
    error = ProviderError(None, http_status=301, location="https://knouds.ai")
    rule = WITHOUT_OVERRIDES.rule_for_submit(error)
    assert rule.own_code == "redirected"
    assert "Set KNOUDS_BASE_URL to https://knouds.ai," in action_text(rule, error, LANE)
    nowhere = ProviderError(None, http_status=301)
    assert "to the address of the Knouds API," in action_text(rule, nowhere, LANE)


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
def test_a_failed_run_is_classified_by_its_code(code: str | None, disposition: Disposition) -> None:
    assert WITHOUT_OVERRIDES.rule_for_failed_run(ProviderError(code)).disposition is disposition


@pytest.mark.parametrize("status", [400, 402, 404, 502])
def test_a_status_inside_a_failed_run_is_not_the_answer_to_a_call(status: int) -> None:
    error = ProviderError("NEW_CODE", http_status=status)
    assert WITHOUT_OVERRIDES.rule_for_failed_run(error) is UNKNOWN_IN_FAILED_RUN


# Overrides.


@pytest.mark.parametrize("disposition", list(Disposition))
def test_settings_override_a_row_by_its_code(disposition: Disposition) -> None:
    table = ErrorTable(
        ERROR_RULES, overrides={"INVALID_INPUTS": disposition, "HTTP_502": disposition}
    )
    assert (
        table.rule_for_submit(ProviderError("INVALID_INPUTS", http_status=400)).disposition
        is disposition
    )
    assert table.rule_for_submit(ProviderError(None, http_status=502)).disposition is disposition
    assert table.rule_for_failed_run(ProviderError("INVALID_INPUTS")).disposition is disposition
    assert (
        table.rule_for_submit(ProviderError("INVALID_BODY", http_status=400)).disposition
        is Disposition.DEAD
    )


def test_a_row_overridden_to_park_has_a_scope_and_an_action() -> None:
    table = ErrorTable(ERROR_RULES, overrides={"EXECUTION_FAILED": Disposition.PARK})
    error = ProviderError("EXECUTION_FAILED", http_status=500)
    rule = table.rule_for_submit(error)
    assert hold_scope(rule, error, LANE) == str(LANE)
    assert action_text(rule, error, LANE)


def test_an_override_that_changes_nothing_keeps_the_row() -> None:
    error = ProviderError("INSUFFICIENT_CREDITS", http_status=402)
    same = ErrorTable(ERROR_RULES, overrides={"INSUFFICIENT_CREDITS": Disposition.PARK})
    assert same.rule_for_submit(error) is WITHOUT_OVERRIDES.rule_for_submit(error)


def test_no_override_makes_an_unreadable_500_trustworthy() -> None:
    table = ErrorTable(ERROR_RULES, overrides={"HTTP_500": Disposition.RETRY})
    assert (
        table.rule_for_submit(ProviderError(None, http_status=500, is_readable=False))
        is OUTSIDE_CONTRACT
    )


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
    error = ProviderError(code, http_status=403, required_capability=required)
    assert hold_scope(WITHOUT_OVERRIDES.rule_for_submit(error), error, LANE) == scope


@pytest.mark.parametrize("code", ["INSUFFICIENT_CREDITS", "grant_exhausted"])
def test_only_a_missing_capability_is_narrowed_by_what_is_required(code: str) -> None:
    error = ProviderError(code, http_status=402, required_capability="model:suno:run")
    rule = WITHOUT_OVERRIDES.rule_for_submit(error)
    account, _, target = LANE.scopes
    expected = account if rule.reach is Reach.ACCOUNT else target
    assert hold_scope(rule, error, LANE) == expected


# What the operator reads.

RULES = [*ERROR_RULES, *GENERIC_RULES, OTHER_4XX, UNKNOWN_IN_FAILED_RUN, OUTSIDE_CONTRACT]
PARKING = [row for row in RULES if row.disposition is Disposition.PARK]
DEAD_LETTERING = [row for row in RULES if row.disposition is Disposition.DEAD]


def _label(row: ErrorRule) -> str:
    return f"{row.http_status}-{row.code}"


@pytest.mark.parametrize("row", PARKING + DEAD_LETTERING, ids=_label)
def test_rows_that_park_or_dead_letter_say_what_an_operator_must_do(row: ErrorRule) -> None:
    assert row.action
    assert row.meaning


@pytest.mark.parametrize("row", PARKING, ids=_label)
def test_rows_that_park_say_that_the_hold_has_to_be_released(row: ErrorRule) -> None:
    assert "release the hold" in action_text(row, ProviderError(row.code), LANE)
    assert row.action_path is None or row.action_path.startswith("/")


def error_action(status: int, code: str | None, required: str | None = None) -> str:
    error = ProviderError(code, http_status=status, required_capability=required)
    return action_text(WITHOUT_OVERRIDES.rule_for_submit(error), error, LANE).lower()


def test_without_credits_a_top_up_helps() -> None:
    assert "top up account studio" in error_action(402, "INSUFFICIENT_CREDITS")
    assert (
        WITHOUT_OVERRIDES.rule_for_submit(
            ProviderError("INSUFFICIENT_CREDITS", http_status=402)
        ).action_path
        == "/settings/billing"
    )


@pytest.mark.parametrize(
    ("status", "code"), [(402, "grant_exhausted"), (403, "MODEL_TIER_REQUIRED")]
)
def test_where_the_plan_is_too_small_a_top_up_does_not_help(status: int, code: str) -> None:
    text = error_action(status, code)
    assert text.startswith("upgrade the")
    assert "a top-up does not help" in text
    assert "top up" not in text
    assert (
        WITHOUT_OVERRIDES.rule_for_submit(ProviderError(code, http_status=status)).action_path
        == "/pricing"
    )


@pytest.mark.parametrize(
    ("required", "named"), [("model:suno:run", "model:suno:run"), (None, "model:run")]
)
def test_a_missing_capability_is_named(required: str | None, named: str) -> None:
    assert f"capability {named}" in error_action(403, "CAPABILITY_DENIED", required)
    assert f"scope {named}" in error_action(403, "SCOPE_DENIED", required)


@pytest.mark.parametrize(
    ("code", "words"), [(None, "valid api key"), ("LEGACY_KEY_RETIRED", "regenerate")]
)
def test_a_bad_key_is_named_with_its_account(code: str | None, words: str) -> None:
    assert words in error_action(401, code)
    assert "account studio" in error_action(401, code)


@pytest.mark.parametrize("row", RULES, ids=_label)
def test_a_text_asks_only_for_names_that_are_filled_in(row: ErrorRule) -> None:
    names = {name for _, name, _, _ in Formatter().parse(row.action) if name is not None}
    assert names <= {"required", "target", "account", "location"}


@pytest.mark.parametrize(
    "text",
    [ACTION_UNCERTAIN, ACTION_STUCK, ACTION_MANUAL, ACTION_ATTEMPTS_SPENT],
    ids=lambda t: t[:12],
)
def test_our_own_reasons_have_an_action_too(text: str) -> None:
    assert text
    assert "{" not in text


def test_the_action_of_an_uncertain_job_warns_that_a_resubmit_may_charge_twice() -> None:
    assert "resubmit (may charge twice)" in ACTION_UNCERTAIN


@settings(max_examples=40, database=None)
@given(
    code=st.none() | st.text(max_size=8),
    status=st.none() | st.integers(100, 999),
    required=st.none() | st.text(alphabet="{}:%a", max_size=8),
    readable=st.booleans(),
)
def test_every_error_has_a_rule(
    code: str | None, status: int | None, required: str | None, *, readable: bool
) -> None:
    error = ProviderError(
        code, "{0} {nope}", status, required_capability=required, is_readable=readable
    )
    for rule in (
        WITHOUT_OVERRIDES.rule_for_submit(error),
        WITHOUT_OVERRIDES.rule_for_failed_run(error),
    ):
        action_text(rule, error, LANE)
        assert hold_scope(rule, error, LANE) in LANE.scopes
    assert error.display_code


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ProviderError("grant_exhausted", http_status=402), "grant_exhausted"),
        (ProviderError(None, http_status=403), "HTTP_403"),
        (ProviderError(None), "UNKNOWN"),
    ],
    ids=lambda value: str(value) if isinstance(value, str) else "",
)
def test_a_fault_is_named_by_the_providers_code_letter_for_letter(
    error: ProviderError, name: str
) -> None:
    assert error.display_code == name
