"""Decides what an error of the provider means: the lookup, and the rows of unknown codes.

Rows are data of the provider. An error is looked up by status and code, then by status alone; an
error inside a failed run has no status of its own and is looked up by code alone. What no row
covers has a row of its own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, assert_never

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

    UNCERTAIN = "uncertain"
    """It is unknown whether the run started: park, and never submit again by itself."""


class Reach(StrEnum):
    """How far a hold reaches."""

    ACCOUNT = "account"
    ROUTE = "route"
    """The route, or only the target if `required` names one."""
    TARGET = "target"


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
    """What the operator must do; `{required}`, `{target}` and `{account}` are filled in."""
    action_path: str | None = None
    """Page of the provider for it, below its base URL."""
    reach: Reach | None = None


_CLEAR_CAUSE: Final = "Read the message, clear its cause with the provider, then release the hold"

GENERIC_RULES: Final = (
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
    ErrorRule(429, None, Disposition.WAIT, "over a rate limit, with an unknown code"),
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
    "any other refusal (4xx)",
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

ACTION_UNCERTAIN: Final = (
    "Check in the provider's dashboard whether this run exists. Then resolve: attach its execution "
    "id, resubmit (may charge twice), or discard"
)
ACTION_STUCK: Final = (
    "Ask the provider about this execution. Release to give it another deadline, cancel it, or "
    "resolve it; it is still polled now and then"
)
ACTION_MANUAL: Final = "Parked by an operator: release it when it may run"
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
        """Return what an error response to a submit means."""
        status = error.http_status
        if status == 500 and not error.is_readable:  # noqa: PLR2004
            return OUTSIDE_CONTRACT
        rules = self._by_status_and_code
        rule = rules.get((status, error.code)) or rules.get((status, None))
        if rule is None:
            is_4xx = status is not None and 400 <= status < 500  # noqa: PLR2004
            rule = OTHER_4XX if is_4xx else OUTSIDE_CONTRACT
        return self._overridden(rule, error)

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
    )
