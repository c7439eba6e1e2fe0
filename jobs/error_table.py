"""Decides what an error of the provider means: the lookup, and the rows of unknown codes.

Rows are data of the provider. An error is looked up by status and code, then by status alone; an
error inside a failed run has no status of its own and is looked up by code alone. What no row
covers has a row of its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, assert_never

from jobs.job import NO_KEY, NOT_THE_API, REDIRECTED
from jobs.lanes import Lane, Scope
from jobs.outcomes import ProviderError
from jobs.states import Kind


class Disposition(StrEnum):
    """What an error does to the job."""

    SYNC = "sync"
    """Submit again without async, at once, same attempt; remember it for the target."""

    DEAD = "dead"
    """Dead letter: no retry fixes it."""

    PARK = "park"
    """Park and place a hold: an operator has to act."""

    WAIT = "wait"
    """Back to the queue; the whole account and route waits. No attempt spent."""

    RETRY = "retry"
    """Retry with backoff; the attempt is spent."""

    COOL = "cool"
    """Retry with backoff and cool the lane down; the attempt is spent."""

    HOLD = "hold"
    """Back to the queue, and place a hold: the request did not reach the provider's API, so nothing
    was started and no attempt is spent."""

    NOT_SENT = "not_sent"
    """As a request that was not sent, since it was refused before it was fully written. The job
    backs off; no attempt is spent."""

    UNCERTAIN = "uncertain"
    """It is unknown whether the run started: park, and never submit again by itself."""


class Reach(StrEnum):
    """How far a hold reaches."""

    ACCOUNT = "account"
    ROUTE = "route"
    """The route, or only the target if `required` names one."""
    TARGET = "target"
    KEYLESS = "keyless"
    """Every account without a key: one hold, which closes no lane."""


KEYLESS_SCOPE: Final = Scope("accounts without a key")
"""The scope of the hold `no_key`. It is no account's label, so it covers no lane."""


@dataclass(frozen=True, slots=True)
class ErrorRule:
    """One row: an error, what it means, and what the operator does about it."""

    http_status: int | None
    """None: any status, or none (inside a failed run)."""
    code: str | None
    """None: an unknown code, or no code."""
    disposition: Disposition
    meaning: str
    action: str = ""
    """What the operator must do; `{required}`, `{target}`, `{account}` and `{location}` are filled
    in."""
    action_path: str | None = None
    """Page of the provider for it, below its base URL."""
    reach: Reach | None = None
    own_code: str | None = None
    """A code of ours, which names the cause where the answer's own code does not."""


_CLEAR_CAUSE: Final = "Read the message, clear its cause with the provider, then release the hold"

_SET_BASE_URL: Final = (
    "Set KNOUDS_BASE_URL to {location}, restart the workers, then release the hold"
)
_TOO_LARGE: Final = "Make the inputs smaller, requeue"

ACTION_NO_KEY: Final = (
    "Add a key for the account to KNOUDS_API_KEYS (KNOUDS_API_KEY for `default`), restart the "
    "workers, then release the hold; discard jobs whose account is a mistake"
)

GENERIC_RULES: Final = (
    *(
        ErrorRule(
            status,
            None,
            Disposition.PARK,
            "KNOUDS_BASE_URL redirects elsewhere; the redirect was not followed",
            _SET_BASE_URL,
            reach=Reach.ACCOUNT,
            own_code=REDIRECTED,
        )
        for status in (301, 302, 307, 308)
    ),
    ErrorRule(
        303, None, Disposition.UNCERTAIN, "another page has the answer: the request was handled"
    ),
    ErrorRule(
        401,
        None,
        Disposition.PARK,
        "API key missing, revoked or invalid",
        "Put a valid API key for account {account} in the settings, restart the workers, release "
        "the hold",
        reach=Reach.ACCOUNT,
    ),
    ErrorRule(
        401,
        NO_KEY,
        Disposition.PARK,
        "the job's account has no API key in the settings; nothing was sent",
        ACTION_NO_KEY,
        reach=Reach.KEYLESS,
    ),
    ErrorRule(
        402,
        None,
        Disposition.PARK,
        "payment required, with an unknown code",
        _CLEAR_CAUSE,
        reach=Reach.ACCOUNT,
    ),
    ErrorRule(
        403,
        None,
        Disposition.PARK,
        "refused, with an unknown code",
        _CLEAR_CAUSE,
        reach=Reach.TARGET,
    ),
    ErrorRule(
        408, None, Disposition.UNCERTAIN, "the server stopped waiting for a request it had in full"
    ),
    ErrorRule(413, None, Disposition.DEAD, "the request is too large", _TOO_LARGE),
    ErrorRule(414, None, Disposition.DEAD, "the target's name is too long", "Discard this job"),
    ErrorRule(429, None, Disposition.WAIT, "over a rate limit, with an unknown code"),
    ErrorRule(431, None, Disposition.DEAD, "the head of the request is too large", _TOO_LARGE),
    ErrorRule(500, None, Disposition.RETRY, "a server error as JSON, with an unknown code"),
    ErrorRule(502, None, Disposition.UNCERTAIN, "a proxy lost the provider's response"),
    ErrorRule(503, None, Disposition.COOL, "the provider is overloaded or down"),
    ErrorRule(504, None, Disposition.UNCERTAIN, "a proxy stopped waiting for the provider"),
)
"""What a status means without a known code, for any provider; its own rows replace these."""

OTHER_4XX: Final = ErrorRule(
    None,
    None,
    Disposition.DEAD,
    "any other refusal (4xx) of the provider, as JSON",
    "Read the message, fix the inputs, requeue",
)
UNKNOWN_IN_FAILED_RUN: Final = ErrorRule(
    None,
    None,
    Disposition.RETRY,
    "the run failed, with an unknown code",
)
OUTSIDE_CONTRACT: Final = ErrorRule(
    None,
    None,
    Disposition.UNCERTAIN,
    "a response outside the contract (other 3xx and 5xx, an unreadable 500)",
)
NOT_THE_API_PAGE: Final = ErrorRule(
    None,
    None,
    Disposition.HOLD,
    "a page, a text or nothing answered, not the Knouds API: a proxy, a login or captcha page, or "
    "another site",
    "Open KNOUDS_BASE_URL from the worker's machine; set it to the address of the Knouds API, or "
    "let the network pass, restart the workers, then release the hold",
    reach=Reach.ACCOUNT,
    own_code=NOT_THE_API,
)
REQUEST_CUT_SHORT: Final = ErrorRule(
    408,
    None,
    Disposition.NOT_SENT,
    "the server stopped waiting before the request was fully written",
)
TLS_PORT: Final = replace(
    NOT_THE_API_PAGE,
    meaning="plain HTTP was sent to a port that speaks TLS: KNOUDS_BASE_URL must start with "
    "https://",
    action=_SET_BASE_URL,
)
NETWORK_LOGIN: Final = 511
"""Network authentication required (RFC 6585): the answer of a captive portal."""

_NEVER_A_PAGE: Final = frozenset({401, 402, 408, 413, 414, 429, 431})
"""Refusals that say enough by their status, whoever sent them."""

_DECIDED_BY_STATUS: Final = frozenset({301, 302, 303, 307, 308, 408, 413, 414, 431})
"""Whatever code such an answer carries."""
_DECIDED_BY_STATUS_UNLESS_PARKED: Final = frozenset({401, 402, 403, 429})
"""A known code of another status counts here only if it parks."""
_MAYBE_STARTED: Final = frozenset({502, 503, 504})
"""A known code that would retry does not count here: a proxy may have lost the first answer."""

ACTION_UNCERTAIN: Final = (
    "Check in the provider's dashboard whether this run exists. Then resolve: attach its execution "
    "id, resubmit (may charge twice), or discard"
)
ACTION_STUCK: Final = (
    "Ask the provider about this execution. Release to give it another deadline, cancel it, or "
    "resolve it; it is still polled now and then"
)
ACTION_BUDGET: Final = (
    "Raise the limit of the budget, then release it (other jobs of its lane go on by themselves); "
    "or discard it"
)
ACTION_PARENT: Final = (
    "A job that it waits for never succeeds: release it with inputs of its own to run it all the"
    " same, or discard it"
)
ACTION_PARENT_RESULT: Final = (
    "Its inputs take from a result what that does not have: release it with inputs of its own, or"
    " discard it"
)
ACTION_MANUAL: Final = "Parked by an operator: release it when it may run"
ACTION_OUTAGE: Final = (
    "Its target failed for longer than KNOUDS_OUTAGE_LIMIT_S, so the provider is to be asked. "
    "Requeue once the target works again"
)
ACTION_POSTPONED: Final = (
    "Nothing: no other job of its lane has succeeded since its first failure, so this may be an "
    "outage. It is tried again by itself, and at once when another job succeeds. To try it now, "
    "probe the breaker of its lane, or park and release it"
)
ACTION_ATTEMPTS_SPENT: Final = "All attempts failed: check the provider's status, then requeue"


class ErrorTable:
    """Looks up errors in a provider's rows and the generic ones.

    `rules`: the provider's rows. `overrides`: dispositions by code, from the settings.
    """

    def __init__(
        self, rules: Iterable[ErrorRule] = (), overrides: Mapping[str, Disposition] | None = None
    ) -> None:
        self._by_status_and_code = {
            (rule.http_status, rule.code): rule for rule in (*GENERIC_RULES, *rules)
        }
        self._by_code = {rule.code: rule for rule in self.rules if rule.code is not None}
        self._overrides = overrides or {}

    @property
    def rules(self) -> list[ErrorRule]:
        """Every row, by status; within one the row without a code comes last."""
        return sorted(
            self._by_status_and_code.values(),
            key=lambda rule: (rule.http_status or 0, rule.code is None),
        )

    def rule_for_submit(self, error: ProviderError) -> ErrorRule:
        """Return what an error response to a submit means.

        By status and code, else by a known code, else by status. A status that says more than a
        code does (see `_DECIDED_BY_STATUS`) counts first.
        """
        status = error.http_status or 0
        if error.is_page and may_be_page(status):
            return TLS_PORT if error.wants_tls else NOT_THE_API_PAGE
        if status == 408 and not error.body_sent:  # noqa: PLR2004
            return REQUEST_CUT_SHORT
        if status == 500 and not error.is_readable:  # noqa: PLR2004
            return OUTSIDE_CONTRACT
        by_status = self._by_status_and_code.get((status, None))
        if by_status is None:
            by_status = OTHER_4XX if 400 <= status < 500 else OUTSIDE_CONTRACT  # noqa: PLR2004
        rule = self._by_status_and_code.get((status, error.code)) or self._rule_of_code(
            error, by_status
        )
        return self._overridden(rule, error)

    def _rule_of_code(self, error: ProviderError, by_status: ErrorRule) -> ErrorRule:
        """Return the row of a code that is documented with another status, or `by_status`."""
        rule = self._by_code.get(error.code or "")
        if rule is None or error.http_status in _DECIDED_BY_STATUS:
            return by_status
        if error.http_status in _DECIDED_BY_STATUS_UNLESS_PARKED:
            return rule if rule.disposition is Disposition.PARK else by_status
        if error.http_status in _MAYBE_STARTED and rule.disposition is Disposition.RETRY:
            return by_status
        return rule

    def rule_for_failed_run(self, error: ProviderError) -> ErrorRule:
        """Return what the error inside a failed run means.

        The run was accepted and has ended, so its attempt is spent: an error that makes a refused
        submit wait or go sync makes a failed run retry with backoff.
        """
        rule = self._by_code.get(error.code or "", UNKNOWN_IN_FAILED_RUN)
        if rule.disposition in (Disposition.WAIT, Disposition.SYNC, Disposition.COOL):
            rule = replace(rule, disposition=Disposition.RETRY)
        return self._overridden(rule, error)

    def _overridden(self, rule: ErrorRule, error: ProviderError) -> ErrorRule:
        override = self._overrides.get(error.display_code)
        if override is None or override is rule.disposition:
            return rule
        reach = rule.reach or (Reach.TARGET if override is Disposition.PARK else None)
        action = rule.action or "Read the message, clear its cause, then release the hold"
        return replace(rule, disposition=override, reach=reach, action=action)


def hold_scope(rule: ErrorRule, error: ProviderError, lane: Lane) -> Scope:
    """Return the scope of the hold that a parking rule places."""
    account, route, target = lane.scopes
    match rule.reach:
        case Reach.ACCOUNT:
            return account
        case Reach.ROUTE:
            return target if _names_target(error.required_capability, lane) else route
        case Reach.TARGET | None:
            return target
        case Reach.KEYLESS:
            return KEYLESS_SCOPE
        case _:
            assert_never(rule.reach)


def _names_target(required: str | None, lane: Lane) -> bool:
    """Whether a capability like `model:gpt-image-2:run` names the target (`model:run` does not)."""
    parts = (required or "").split(":")
    return len(parts) == 3 and parts[0] in tuple(Kind) and parts[1] == lane.target  # noqa: PLR2004


def action_text(rule: ErrorRule, error: ProviderError, lane: Lane) -> str:
    """Return what the operator must do, with the job's own names in it."""
    return rule.action.format(
        required=error.required_capability or f"{lane.kind}:run",
        target=lane.target,
        account=lane.account,
        location=error.location or "the address of the Knouds API",
    )


def may_be_page(status: int) -> bool:
    """Whether an answer with this status, if it is not the provider's JSON, is `not_the_api`.

    In a 2xx only a login or captcha page is, and at 403 only HTML.
    """
    is_refusal = 400 <= status < 500 and status not in _NEVER_A_PAGE  # noqa: PLR2004
    return is_refusal or status == NETWORK_LOGIN or 200 <= status < 300  # noqa: PLR2004
