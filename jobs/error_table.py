"""The verdict table: the only place that decides what an error of the provider means.

Rows are data. A fault is looked up by status and code, then by code alone (inside a failed run,
where there is no status of its own), then by status, and at last in the row for the unknown.
Source of codes and meanings: the provider's public documentation (see docs/provider.md).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from jobs.lanes import Lane, Scope
from jobs.outcomes import ProviderError
from jobs.states import Kind


class Disposition(StrEnum):
    """What happens to a job after a fault."""

    SYNC = "sync"
    """Submit again without async, at once, same attempt; remember it for the target."""

    DEAD = "dead"
    """Dead letter: no retry mends it."""

    PARK = "park"
    """Park and put up a hold: a person has to act."""

    WAIT = "wait"
    """Back to the queue; the whole account and route waits. No attempt spent."""

    RETRY = "retry"
    """Retry with backoff; the attempt is spent."""

    COOL = "cool"
    """Retry with backoff and cool the lane down; the attempt is spent."""

    UNCERTAIN = "uncertain"
    """Nobody knows whether the run started: park, never send again blindly."""


class Reach(StrEnum):
    """How far a hold reaches."""

    ACCOUNT = "account"
    ROUTE = "route"
    """The route, or the target alone when `required` names one."""
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One row: an answer, what it means, and what a person does about it."""

    http_status: int | None
    """None: any status, or none (inside a failed run)."""
    code: str | None
    """None: a code nobody knows, or no code at all."""
    disposition: Disposition
    meaning: str
    action: str = ""
    """What the person must do; `{required}`, `{target}` and `{account}` are filled in."""
    action_path: str | None = None
    """Page of the provider, below its base URL, where the person does it."""
    reach: Reach | None = None


_BILLING: Final = "/settings/billing"
_PLANS: Final = "/pricing"
_KEYS: Final = "/developer"

_D, _P, _R = Disposition.DEAD, Disposition.PARK, Disposition.RETRY

ERROR_RULES: Final[tuple[ErrorRule, ...]] = (
    ErrorRule(400, "ASYNC_NOT_SUPPORTED", Disposition.SYNC, "the target has no async mode"),
    ErrorRule(
        400, "INVALID_INPUTS", _D, "inputs malformed or incomplete", "Fix the inputs, requeue"
    ),
    ErrorRule(
        400,
        "INVALID_SLUG",
        _D,
        "bad characters in the target's name",
        "Enqueue a new job with the right target, discard this one",
    ),
    ErrorRule(400, "INVALID_BODY", _D, "not JSON, or fields missing", "Fix the inputs, requeue"),
    ErrorRule(400, "INVALID_CAPABILITY", _D, "malformed capability", "Read the message, requeue"),
    ErrorRule(
        400, "INVALID_SCOPE", _D, "older contract: scope unknown", "Read the message, requeue"
    ),
    ErrorRule(
        401,
        "LEGACY_KEY_RETIRED",
        _P,
        "API key from before May 2026",
        "Regenerate the API key of account {account} in the developer dashboard, put it in the "
        "settings, restart the workers, release the hold",
        _KEYS,
        Reach.ACCOUNT,
    ),
    ErrorRule(
        401,
        None,
        _P,
        "API key missing, revoked or invalid",
        "Put a valid API key for account {account} in the settings, restart the workers, release "
        "the hold",
        _KEYS,
        Reach.ACCOUNT,
    ),
    ErrorRule(
        402,
        "INSUFFICIENT_CREDITS",
        _P,
        "credit balance too low",
        "Top up account {account} in Settings → Billing, then release the hold",
        _BILLING,
        Reach.ACCOUNT,
    ),
    ErrorRule(
        402,
        "grant_exhausted",
        _P,
        "the trial grant for this model is used up",
        "Upgrade the plan of account {account}, then release the hold; a top-up does not help",
        _PLANS,
        Reach.TARGET,
    ),
    ErrorRule(
        402,
        None,
        _P,
        "payment required, with a code nobody knows yet",
        "Read the message, settle it in Settings → Billing, then release the hold",
        _BILLING,
        Reach.ACCOUNT,
    ),
    ErrorRule(
        403,
        "CAPABILITY_DENIED",
        _P,
        "the API key lacks a capability",
        "Use an API key with capability {required}, or a higher tier, restart the workers, release "
        "the hold",
        _KEYS,
        Reach.ROUTE,
    ),
    ErrorRule(
        403,
        "SCOPE_DENIED",
        _P,
        "the API key lacks a scope (older contract)",
        "Use an API key with scope {required}, restart the workers, release the hold",
        _KEYS,
        Reach.ROUTE,
    ),
    ErrorRule(
        403,
        "CAPABILITY_ABOVE_CEILING",
        _P,
        "a capability above the tier",
        "Upgrade the tier of account {account}, then release the hold",
        _PLANS,
        Reach.TARGET,
    ),
    ErrorRule(
        403,
        "API_KEY_ACCESS_DENIED",
        _P,
        "the Free tier has no API keys",
        "Upgrade account {account} to Pro, then release the hold",
        _PLANS,
        Reach.ACCOUNT,
    ),
    ErrorRule(
        403,
        "MODEL_TIER_REQUIRED",
        _P,
        "the model needs a higher tier",
        "Upgrade the tier of account {account}, then release the hold; a top-up does not help",
        _PLANS,
        Reach.TARGET,
    ),
    ErrorRule(
        403,
        "WORKFLOW_CAP_REACHED",
        _P,
        "a Free user at the workflow cap",
        "Upgrade account {account} to Pro, then release the hold",
        _PLANS,
        Reach.TARGET,
    ),
    ErrorRule(
        403,
        None,
        _P,
        "refused, with a code nobody knows yet",
        "Read the message, clear its cause with the provider, then release the hold",
        None,
        Reach.TARGET,
    ),
    ErrorRule(
        404,
        "MODEL_NOT_FOUND",
        _D,
        "no enabled model of that name",
        "Enqueue a new job with the right target, discard this one",
    ),
    ErrorRule(
        404,
        "EXECUTION_NOT_FOUND",
        _D,
        "no such execution of this account",
        "Look the run up in the provider's dashboard",
    ),
    ErrorRule(
        404,
        None,
        _D,
        "no workflow of this account has that slug",
        "Enqueue a new job with the right target, discard this one",
    ),
    ErrorRule(429, "RATE_LIMIT_EXCEEDED", Disposition.WAIT, "over the limit of the window"),
    ErrorRule(429, None, Disposition.WAIT, "told to wait, with a code nobody knows yet"),
    ErrorRule(500, "EXECUTION_FAILED", _R, "a provider call failed"),
    ErrorRule(500, "PROVIDER_SUBMIT_FAILED", _R, "the submit failed upstream, surfaced at once"),
    ErrorRule(
        500,
        "PROVIDER_RESPONSE_INCOMPLETE",
        _R,
        "ended without the expected output, credits not deducted",
    ),
    ErrorRule(500, None, _R, "a server fault, spelled out as JSON, with a code nobody knows yet"),
    ErrorRule(503, None, Disposition.COOL, "the provider is overloaded or down"),
    ErrorRule(502, None, Disposition.UNCERTAIN, "a proxy lost the provider's answer"),
    ErrorRule(504, None, Disposition.UNCERTAIN, "a proxy stopped waiting for the provider"),
)
"""Every row of the provider's error tables, and the unknown of each status."""

OTHER_4XX: Final = ErrorRule(
    None,
    None,
    _D,
    "any other refusal (4xx)",
    "Read the message, fix the inputs, requeue",
)
UNKNOWN_IN_FAILED_RUN: Final = ErrorRule(
    None,
    None,
    _R,
    "the run failed, with a code nobody knows yet",
)
OUTSIDE_CONTRACT: Final = ErrorRule(
    None,
    None,
    Disposition.UNCERTAIN,
    "an answer outside the contract (other 3xx and 5xx, an unreadable 500)",
)

ACTION_UNCERTAIN: Final = (
    "Look in the provider's dashboard whether this run exists. Then resolve: attach its execution "
    "id, resubmit (may charge twice), or discard"
)
ACTION_STUCK: Final = (
    "Ask the provider about this execution. Release to give it another deadline, cancel it, or "
    "resolve it; it is still looked at now and then"
)
ACTION_MANUAL: Final = "Parked by a person: release it when it may run"
ACTION_ATTEMPTS_SPENT: Final = "All attempts failed: look at the provider's status, then requeue"

_BY_STATUS_AND_CODE: Final = {(row.http_status, row.code): row for row in ERROR_RULES}
_BY_CODE: Final = {row.code: row for row in ERROR_RULES if row.code is not None}


@dataclass(frozen=True, slots=True)
class ErrorTable:
    """The table, with the rows that settings override by code."""

    overrides: Mapping[str, Disposition]

    def rule_for_submit(self, error: ProviderError) -> ErrorRule:
        """What an error answer to a submit means."""
        status = error.http_status
        if status == 500 and not error.is_readable:  # noqa: PLR2004
            return OUTSIDE_CONTRACT
        row = _BY_STATUS_AND_CODE.get((status, error.code)) or _BY_STATUS_AND_CODE.get(
            (status, None),
        )
        if row is None:
            is_4xx = status is not None and 400 <= status < 500  # noqa: PLR2004
            row = OTHER_4XX if is_4xx else OUTSIDE_CONTRACT
        return self._overridden(row, error)

    def rule_for_failed_run(self, error: ProviderError) -> ErrorRule:
        """What the error inside a failed run means.

        The run was taken and has ended, so its attempt is spent: where a refused submit would only
        wait or go sync, a failed run is retried with backoff.
        """
        row = _BY_CODE.get(error.code or "", UNKNOWN_IN_FAILED_RUN)
        if row.disposition in (Disposition.WAIT, Disposition.SYNC, Disposition.COOL):
            row = replace(row, disposition=Disposition.RETRY)
        return self._overridden(row, error)

    def _overridden(self, rule: ErrorRule, error: ProviderError) -> ErrorRule:
        override = self.overrides.get(error.display_code)
        if override is None or override is rule.disposition:
            return rule
        reach = rule.reach or (Reach.TARGET if override is Disposition.PARK else None)
        action = rule.action or "Read the message, clear its cause, then release the hold"
        return replace(rule, disposition=override, reach=reach, action=action)


def hold_scope(rule: ErrorRule, error: ProviderError, lane: Lane) -> Scope:
    """The scope of the hold that a parking verdict puts up."""
    account, route, target = lane.scopes
    match rule.reach:
        case Reach.ACCOUNT:
            return account
        case Reach.ROUTE:
            return target if _names_target(error.required_capability, lane) else route
        case Reach.TARGET | None:
            return target


def _names_target(required: str | None, lane: Lane) -> bool:
    """Whether a capability like `model:gpt-image-2:run` speaks of one target (`model:run` not)."""
    parts = (required or "").split(":")
    return len(parts) == 3 and parts[0] in tuple(Kind) and parts[1] == lane.target  # noqa: PLR2004


def action_text(rule: ErrorRule, error: ProviderError, lane: Lane) -> str:
    """What the person must do, with the job's own names in it."""
    return rule.action.format(
        required=error.required_capability or f"{lane.kind}:run",
        target=lane.target,
        account=lane.account,
    )
