"""The client of the Knouds API: thin, around the sans-IO `calls` and `wire`."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self, TypeVar

import structlog
from pydantic import SecretStr

from jobs.lanes import Lane, Scope, polls_scope, usage_scope
from jobs.outcomes import CallFailure, Lost, NotSent, PollOutcome, SubmitOutcome
from jobs.states import Kind, Mode
from jobs.workflows import WorkflowList, WorkflowSchema
from worker.provider.http.options import HttpOptions, HttpResponse, SettingNames, TimeLimit
from worker.provider.http.request import HttpRequest
from worker.provider.http.transport import HttpTransport
from worker.provider.knouds import calls, fields, wire
from worker.provider.knouds.usage import read_usage
from worker.provider.knouds.workflows import read_workflow_schema, read_workflows
from worker.provider.port import (
    CancelOutcome,
    Identity,
    RateLimitObserver,
    SendMark,
    UnknownAccount,
    UsagePage,
)

USER_AGENT: Final = "knouds-worker"

SETTING_NAMES: Final = SettingNames(
    base_url="KNOUDS_BASE_URL",
    ca_file="KNOUDS_CA_FILE",
    connect_timeout="KNOUDS_CONNECT_TIMEOUT_S",
    proxy="KNOUDS_PROXY_URL",
)

log: Final = structlog.get_logger(__name__)

_Outcome = TypeVar("_Outcome")
_Reader = Callable[[int, Mapping[str, str], bytes, float], _Outcome]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long whole calls may take, connection included, in seconds.

    `poll_s` also bounds every other call that starts no run.
    """

    submit_s: float = 30.0
    sync_s: float = 600.0
    poll_s: float = 15.0


class KnoudsClient:
    """The provider's API, for as long as its `async with` block lasts: a `RunProvider`.

    `accounts`: API keys by account label.
    """

    def __init__(
        self,
        base_url: str,
        accounts: Mapping[str, SecretStr],
        *,
        timeouts: Timeouts = Timeouts(),
        http: HttpOptions | None = None,
        rate_limit_observer: RateLimitObserver | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._accounts = accounts
        self._submit_limit = TimeLimit(timeouts.submit_s, "KNOUDS_SUBMIT_TIMEOUT_S")
        self._sync_limit = TimeLimit(timeouts.sync_s, "KNOUDS_SYNC_TIMEOUT_S")
        self._poll_limit = TimeLimit(timeouts.poll_s, "KNOUDS_POLL_TIMEOUT_S")
        self._transport = HttpTransport(
            base_url,
            http or HttpOptions(names=SETTING_NAMES),
            user_agent=USER_AGENT,
            secrets=fields.SECRETS,
        )
        self._rate_limit_observer = rate_limit_observer
        self._clock = clock

    @property
    def network_path(self) -> str:
        """The way to the provider: `direct`, or `through proxy http://host:port (HTTPS_PROXY)`."""
        return self._transport.network_path

    async def close(self) -> None:
        """Close every connection."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def submit(
        self,
        kind: Kind,
        target: str,
        account: str,
        inputs: bytes,
        mode: Mode,
        *,
        mark: SendMark | None = None,
    ) -> SubmitOutcome:
        """Start a run; `inputs` is a JSON object as text, sent byte for byte.

        Raises UnknownAccount, what `mark` raises (nothing was sent then), and CancelledError: if
        the mark was recorded, the outcome is then unknown.
        """
        request = calls.submit(kind, target, inputs, mode, self._key(account))
        limit = self._submit_limit if mode is Mode.ASYNC else self._sync_limit
        response = await self._transport.send_once(request, limit, mark)
        if isinstance(response, Lost):
            return wire.read_lost(response)
        if isinstance(response, NotSent):
            return response
        self._report_rate_limit(Lane(account, kind, target).route, response)
        return wire.read_submit(
            response.status,
            response.headers,
            response.body,
            self._clock(),
            body_sent=response.body_sent,
            is_cut=response.is_cut,
            plain_proxy=self._transport.plain_proxy,
        )

    async def poll(self, account: str, execution_id: str) -> PollOutcome:
        """Return the state of a run. Raises UnknownAccount."""
        request = calls.poll(execution_id, self._key(account))
        return await self._call(request, wire.read_poll, polls_scope(account))

    async def cancel(self, account: str, execution_id: str) -> CancelOutcome:
        """Ask to cancel a run; safe to repeat. Raises UnknownAccount."""
        request = calls.cancel(execution_id, self._key(account))
        return await self._call(request, wire.read_cancel, polls_scope(account))

    async def whoami(self, account: str) -> Identity | CallFailure:
        """Return whose API key the account uses; this checks the key. Raises UnknownAccount."""
        return await self._call(calls.whoami(self._key(account)), wire.read_whoami)

    async def workflows(self, account: str) -> WorkflowList | CallFailure:
        """Return the account's workflows. Raises UnknownAccount."""
        return await self._call(calls.workflows(self._key(account)), read_workflows)

    async def workflow_schema(self, account: str, slug: str) -> WorkflowSchema | CallFailure:
        """Return what a workflow takes. Raises UnknownAccount."""
        request = calls.workflow_schema(slug, self._key(account))
        return await self._call(request, read_workflow_schema)

    async def usage(self, account: str, *, limit: int, offset: int) -> UsagePage | CallFailure:
        """Return a page of the account's runs. Raises UnknownAccount."""
        request = calls.usage(self._key(account), limit, offset)
        return await self._call(request, read_usage, usage_scope(account))

    def _key(self, account: str) -> str:
        key = self._accounts.get(account)
        if key is None:
            raise UnknownAccount(
                f"account {account!r} has no API key: set KNOUDS_API_KEY for `default`, or add the"
                " account to KNOUDS_API_KEYS"
            )
        return key.get_secret_value()

    async def _call(
        self, request: HttpRequest, read: _Reader[_Outcome], route: Scope | None = None
    ) -> _Outcome | CallFailure:
        """Send a call that may be repeated; `route`: whose rate limit the response reports."""
        response = await self._transport.send(request, self._poll_limit)
        if isinstance(response, CallFailure):
            return wire.read_unread_call(response)
        if route is not None:
            self._report_rate_limit(route, response)
        outcome = read(response.status, response.headers, response.body, self._clock())
        if isinstance(outcome, CallFailure):
            return wire.with_proxy(outcome, self._transport.plain_proxy)
        return outcome

    def _report_rate_limit(self, route: Scope, response: HttpResponse) -> None:
        """Report the rate-limit headers. An observer that fails must not cost a paid response."""
        if self._rate_limit_observer is None:
            return
        try:
            reported = wire.read_rate_limit(response.headers, self._clock())
            self._rate_limit_observer.record_response(route, reported, response.status)
        except Exception:
            log.exception("rate_limit.not_recorded", route=route)
