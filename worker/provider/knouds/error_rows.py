"""The rows of Knouds' error tables: codes, what they mean, and what the operator does about them.

Source: the provider's public documentation of errors (docs/provider.md). `jobs.error_table` looks
rows up, and adds those for statuses whose code is unknown.
"""

from typing import Final

from jobs.error_table import Disposition, ErrorRule, Reach

_BILLING: Final = "/settings/billing"
_PLANS: Final = "/pricing"
_KEYS: Final = "/developer"

_FIX_INPUTS: Final = "Fix the inputs, requeue"
_READ_MESSAGE: Final = "Read the message, requeue"
_WRONG_TARGET: Final = "Enqueue a new job with the right target, discard this one"

_DEAD, _PARK, _RETRY = Disposition.DEAD, Disposition.PARK, Disposition.RETRY

ERROR_RULES: Final[tuple[ErrorRule, ...]] = (
    ErrorRule(400, "ASYNC_NOT_SUPPORTED", Disposition.SYNC, "the target has no async mode"),
    ErrorRule(400, "INVALID_INPUTS", _DEAD, "inputs malformed or incomplete", _FIX_INPUTS),
    ErrorRule(400, "INVALID_SLUG", _DEAD, "bad characters in the target's name", _WRONG_TARGET),
    ErrorRule(400, "INVALID_BODY", _DEAD, "not JSON, or fields missing", _FIX_INPUTS),
    ErrorRule(400, "INVALID_CAPABILITY", _DEAD, "malformed capability", _READ_MESSAGE),
    ErrorRule(400, "INVALID_SCOPE", _DEAD, "older contract: scope unknown", _READ_MESSAGE),
    ErrorRule(
        401,
        "LEGACY_KEY_RETIRED",
        _PARK,
        "API key from before May 2026",
        "Regenerate the API key of account {account} in the developer dashboard, put it in the "
        "settings, restart the workers, release the hold",
        _KEYS,
        Reach.ACCOUNT,
    ),
    ErrorRule(
        401,
        None,
        _PARK,
        "API key missing, revoked or invalid",
        "Put a valid API key for account {account} in the settings, restart the workers, release "
        "the hold",
        _KEYS,
        Reach.ACCOUNT,
    ),
    ErrorRule(
        402,
        "INSUFFICIENT_CREDITS",
        _PARK,
        "credit balance too low",
        "Top up account {account} in Settings → Billing, then release the hold",
        _BILLING,
        Reach.ACCOUNT,
    ),
    ErrorRule(
        402,
        "grant_exhausted",
        _PARK,
        "the trial grant for this model is used up",
        "Upgrade the plan of account {account}, then release the hold; a top-up does not help",
        _PLANS,
        Reach.TARGET,
    ),
    ErrorRule(
        402,
        None,
        _PARK,
        "payment required, with an unknown code",
        "Read the message, settle it in Settings → Billing, then release the hold",
        _BILLING,
        Reach.ACCOUNT,
    ),
    ErrorRule(
        403,
        "CAPABILITY_DENIED",
        _PARK,
        "the API key lacks a capability",
        "Use an API key with capability {required}, or a higher tier, restart the workers, release "
        "the hold",
        _KEYS,
        Reach.ROUTE,
    ),
    ErrorRule(
        403,
        "SCOPE_DENIED",
        _PARK,
        "the API key lacks a scope (older contract)",
        "Use an API key with scope {required}, restart the workers, release the hold",
        _KEYS,
        Reach.ROUTE,
    ),
    ErrorRule(
        403,
        "CAPABILITY_ABOVE_CEILING",
        _PARK,
        "a capability above the tier",
        "Upgrade the tier of account {account}, then release the hold",
        _PLANS,
        Reach.TARGET,
    ),
    ErrorRule(
        403,
        "API_KEY_ACCESS_DENIED",
        _PARK,
        "the Free tier has no API keys",
        "Upgrade account {account} to Pro, then release the hold",
        _PLANS,
        Reach.ACCOUNT,
    ),
    ErrorRule(
        403,
        "MODEL_TIER_REQUIRED",
        _PARK,
        "the model needs a higher tier",
        "Upgrade the tier of account {account}, then release the hold; a top-up does not help",
        _PLANS,
        Reach.TARGET,
    ),
    ErrorRule(
        403,
        "WORKFLOW_CAP_REACHED",
        _PARK,
        "a Free user at the workflow cap",
        "Upgrade account {account} to Pro, then release the hold",
        _PLANS,
        Reach.TARGET,
    ),
    ErrorRule(404, "MODEL_NOT_FOUND", _DEAD, "no enabled model of that name", _WRONG_TARGET),
    ErrorRule(
        404,
        "EXECUTION_NOT_FOUND",
        _DEAD,
        "no such execution of this account",
        "Look the run up in the provider's dashboard",
    ),
    ErrorRule(404, None, _DEAD, "no workflow of this account has that slug", _WRONG_TARGET),
    ErrorRule(429, "RATE_LIMIT_EXCEEDED", Disposition.WAIT, "over the limit of the window"),
    ErrorRule(500, "EXECUTION_FAILED", _RETRY, "a provider call failed"),
    ErrorRule(
        500, "PROVIDER_SUBMIT_FAILED", _RETRY, "the submit failed upstream, surfaced at once"
    ),
    ErrorRule(
        500,
        "PROVIDER_RESPONSE_INCOMPLETE",
        _RETRY,
        "ended without the expected output, credits not deducted",
    ),
)
"""Every documented row, in the order of the provider's page, and statuses without a known code."""

ERROR_CODES: Final = frozenset(rule.code for rule in ERROR_RULES if rule.code is not None)
"""Every documented code."""

STATUS_OF_CODE: Final = {
    rule.code: rule.http_status
    for rule in ERROR_RULES
    if rule.code is not None and rule.http_status is not None
}
"""The status that a code is documented with."""
