"""What each account may do at the provider, found out by calls that run and charge nothing."""

import asyncio
import uuid
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from jobs.holds import Canary, Hold, hold_id
from jobs.inconclusive_polls import CHOOSE_READ, UNREADABLE_RUN
from jobs.job import NOT_APPROVED
from jobs.lanes import Scope
from jobs.outcomes import CallFailure, PollOutcome
from jobs.workflows import WorkflowList
from worker.doctor.findings import Finding, fail, ok, warn
from worker.provider.port import Identity, UsagePage

_AFTERWARDS: Final = "restart the workers, then release the holds"
_CUSTOM: Final = (
    "choose preset Custom for the API key, with execution:read and execution:cancel beside the run "
    "capabilities (no other preset names them)"
)


class AccessProvider(Protocol):
    """The calls of a provider that start nothing."""

    async def whoami(self, account: str) -> Identity | CallFailure:
        """Return whose API key the account uses."""
        ...

    async def poll(self, account: str, execution_id: str) -> PollOutcome:
        """Return the state of a run."""
        ...

    async def usage(self, account: str, *, limit: int, offset: int) -> UsagePage | CallFailure:
        """Return a page of the account's runs."""
        ...

    async def workflows(self, account: str) -> WorkflowList | CallFailure:
        """Return the account's workflows."""
        ...


@dataclass(frozen=True, slots=True)
class AccountAccess:
    """What the provider answered about one account."""

    identity: Identity | CallFailure
    poll: PollOutcome | None = None
    """Of a run that does not exist; None, as the next two, where the key was not accepted."""
    workflows: WorkflowList | CallFailure | None = None
    usage: UsagePage | CallFailure | None = None


async def read_access(provider: AccessProvider, account: str) -> AccountAccess:
    """Ask whose key it is and, if it is accepted, what it may do. Raises UnknownAccount."""
    identity = await provider.whoami(account)
    if isinstance(identity, CallFailure):
        return AccountAccess(identity)
    poll, workflows, usage = await asyncio.gather(
        provider.poll(account, str(uuid.uuid4())),
        provider.workflows(account),
        provider.usage(account, limit=1, offset=0),
    )
    return AccountAccess(identity, poll, workflows, usage)


def judge_access(account: str, access: AccountAccess) -> list[Finding]:
    """Judge the key of an account, then each capability that it needs."""
    found = [judge_account(account, access.identity)]
    if not isinstance(access.identity, Identity):
        return found
    name = f"provider.{account}"
    if access.poll is not None:
        found.append(_judge_poll(f"{name}.execution:read", access.poll))
    found.append(_judge_workflows(f"{name}.workflow:read", access.workflows))
    if isinstance(access.usage, CallFailure):
        fix = "findings about uncertain jobs stay unknown until it can be read"
        text = f"the list of runs (usage) cannot be read: {access.usage.why}"
        found.append(warn(f"{name}.usage", text, fix))
    elif access.usage is not None:
        found.append(ok(f"{name}.usage", "the list of runs (usage) can be read"))
    return found


def judge_account(account: str, result: Identity | CallFailure) -> Finding:
    """Judge the provider's response to an account's key."""
    name = f"provider.{account}"
    match result:
        case Identity(approved=False):
            fix = "have the account approved by Knouds, then release its hold"
            return fail(
                name, f"the account is not approved: it cannot run anything yet{_of(result)}", fix
            )
        case Identity():
            return ok(name, f"the key is valid{_of(result)}")
        case CallFailure():
            return _judge_failure(name, account, result)
        case _:
            assert_never(result)


def _of(identity: Identity) -> str:
    """Whose key it is, as a part of a sentence."""
    parts = {
        "tier": identity.tier,
        "role": identity.role if identity.role != "user" else None,
        "e-mail at": identity.email_domain,
    }
    return "".join(f", {name} {value}" for name, value in parts.items() if value)


def _judge_failure(name: str, account: str, failure: CallFailure) -> Finding:
    if (wrong := judge_base_url(name, failure)) is not None:
        return wrong
    setting = "KNOUDS_API_KEY" if account == "default" else f"KNOUDS_API_KEYS ({account})"
    match failure.http_status:
        case 401:
            fix = f"put a valid key into {setting}, {_AFTERWARDS}"
            return fail(name, f"the key is refused: {failure.why}", fix)
        case 403:
            fix = f"raise the account's tier, or put another key into {setting}"
            return fail(name, f"the key may not use the API: {failure.why}", fix)
        case _:
            fix = "if it lasts, check KNOUDS_BASE_URL and the network; jobs wait meanwhile"
            return warn(name, f"the provider could not check the key: {failure.why}", fix)


def judge_base_url(name: str, failure: CallFailure) -> Finding | None:
    """Judge whether something else than the API of Knouds answers at the base URL."""
    status = failure.http_status or 0
    if 300 <= status < 400:  # noqa: PLR2004
        location = failure.error.location if failure.error else None
        fix = f"set KNOUDS_BASE_URL to {location or 'the address of the Knouds API'}, {_AFTERWARDS}"
        return fail(name, f"KNOUDS_BASE_URL redirects elsewhere (HTTP {status})", fix)
    if failure.error is not None and failure.error.wants_tls:
        fix = f"set KNOUDS_BASE_URL to its address with https://, {_AFTERWARDS}"
        return fail(name, f"KNOUDS_BASE_URL must start with https:// ({failure.why})", fix)
    is_error = failure.error is not None and failure.error.is_readable
    is_success = 200 <= status < 300  # noqa: PLR2004
    if failure.is_page or (is_success and not is_error) or status in (404, 405):
        fix = f"set KNOUDS_BASE_URL to the address of the Knouds API, {_AFTERWARDS}"
        text = f"what answers at KNOUDS_BASE_URL is not the Knouds API (HTTP {status})"
        return fail(name, text, fix)
    return None


def _judge_poll(name: str, outcome: PollOutcome) -> Finding:
    match outcome:
        case CallFailure(is_refused=True):
            return fail(name, f"{UNREADABLE_RUN}: {outcome.why}", f"{_CUSTOM}, {_AFTERWARDS}")
        case CallFailure():
            return warn(
                name, f"it is unknown whether runs can be polled: {outcome.why}", "try again"
            )
        case _:
            return ok(name, "runs can be polled")


def _judge_workflows(name: str, result: WorkflowList | CallFailure | None) -> Finding:
    if not isinstance(result, CallFailure):
        return ok(name, "workflows can be listed")
    fix = (
        "jobs run all the same, but enqueues are not compared with the account's workflows: choose "
        "preset Workflow Deploy or Full deploy, or Custom with workflow:read"
    )
    return warn(name, f"workflows cannot be listed: {result.why}", fix)


def unreadable_hold(account: str, failure: CallFailure, now: float) -> Hold:
    """The hold on an account whose key may not poll: its canary is a poll of a paid run."""
    scope = Scope(account)
    code = failure.error.display_code if failure.error else f"HTTP_{failure.http_status}"
    return Hold(
        id=hold_id(scope, code),
        scope=scope,
        code=code,
        created_at=now,
        http_status=failure.http_status,
        message=f"{UNREADABLE_RUN}: {failure.why}",
        action=CHOOSE_READ.format(account=account),
        canary=Canary.POLL,
    )


def not_approved_hold(account: str, now: float) -> Hold:
    """The hold on an account that the provider has not approved."""
    scope = Scope(account)
    return Hold(
        id=hold_id(scope, NOT_APPROVED),
        scope=scope,
        code=NOT_APPROVED,
        created_at=now,
        message="whoami says approved: false, so the account cannot run anything yet",
        action=f"Have account {account} approved by Knouds, then release the hold",
    )
