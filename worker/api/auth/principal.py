"""Who sends a request: a program with a token, an operator with a session, or this machine."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import structlog

from config.values import UNRESTRICTED, Grants, Role, TokenLimits
from jobs.lanes import JOB_ID, JobId
from jobs.requests import JobRequest
from jobs.tenants import STORED_JOB_ID, tenant_job_id
from worker.api.problems import Problem
from worker.app.enqueue import NotGranted, is_granted
from worker.app.shown_ids import set_caller_tenant
from worker.app.visible_texts import set_texts_visible

log: Final = structlog.get_logger(__name__)

REALM: Final = 'Bearer realm="knouds-worker"'


class Visibility(StrEnum):
    """Which jobs an endpoint shows or changes, and so to which tokens it is closed."""

    SYSTEM = "system"
    """Those of every tenant, or what they share: closed to tokens of a tenant."""
    TENANT = "tenant"
    """Those of the token's tenant; of every tenant for a token of none."""
    OWN = "own"
    """The same, and open to tokens with `own` as well, whatever role it needs."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends a request, and what they may do."""

    name: str
    role: Role
    csrf: str = field(default="", repr=False)
    """CSRF token that unsafe requests of this browser carry; empty for a program with a token."""
    grants: Grants = UNRESTRICTED

    @property
    def sees_payloads(self) -> bool:
        """Whether inputs and results may be shown."""
        return self.role.sees_payloads or self.grants.own

    @property
    def sees_jobs(self) -> bool:
        """Whether more of a job may be shown than that it was enqueued."""
        return self.role.covers(Role.WATCH) or self.grants.own

    @property
    def may_operate(self) -> bool:
        """Whether actions on jobs and holds are allowed, and their buttons shown."""
        return self.role.covers(Role.OPERATE)

    @property
    def sees_credits(self) -> bool:
        """Whether budgets, balances and their warnings may be shown."""
        return self.role.covers(Role.READ) and not self.grants.tenant

    def limits(self, defaults: TokenLimits) -> TokenLimits:
        """How much it may enqueue: as its token says, else the settings; operators as they like."""
        own = self.grants.limits or TokenLimits()
        return own if self.may_operate else own.with_defaults(defaults)

    def job_id(self, given: str) -> JobId | None:
        """The stored id of the job that this caller names so; None where no job can have it."""
        pattern = JOB_ID if self.grants.tenant else STORED_JOB_ID
        if pattern.fullmatch(given) is None:
            return None
        return tenant_job_id(self.grants.tenant, given)

    def refuse_attach(self) -> None:
        """Raise `Problem` (403) for a caller of a tenant, whose run it is cannot be known."""
        if self.grants.tenant:
            raise _forbidden(
                f"token {self.name!r} is of the tenant {self.grants.tenant!r}, and the run may be"
                " of another one: let an operator without a tenant attach it, resubmit or discard"
            )

    def refuse_target(self, request: JobRequest) -> None:
        """Raise `NotGranted` for a job that the token may not enqueue."""
        grants = self.grants
        for field_name, value, allowed in (
            ("account", request.account, grants.accounts),
            ("kind", request.kind.value, grants.kinds),
            ("target", request.target, grants.targets),
        ):
            if allowed is not None and not is_granted(value, allowed):
                raise NotGranted(field_name, self.name, allowed)


_PRINCIPAL: Final[ContextVar[Principal | None]] = ContextVar("principal", default=None)
"""Each request is a task with a context of its own."""


def set_principal(principal: Principal | None) -> None:
    """Set the principal of this task's request, and so which texts and ids it is shown."""
    _PRINCIPAL.set(principal)
    set_caller_tenant("" if principal is None else principal.grants.tenant)
    set_texts_visible(
        are_visible=principal is not None and principal.sees_payloads,
        of_all_tenants=principal is None or not principal.grants.tenant,
    )


def current_principal() -> Principal:
    """The principal of this request; raises `Problem` (401) where there is none."""
    principal = _PRINCIPAL.get()
    if principal is None:
        raise unauthorized("log in first")
    return principal


def principal_name() -> str:
    """The name of the principal for the audit; empty where there is none."""
    principal = _PRINCIPAL.get()
    return principal.name if principal is not None else ""


def sees_payloads() -> bool:
    """Whether the principal may see inputs and results."""
    principal = _PRINCIPAL.get()
    return principal is not None and principal.sees_payloads


def log_payload_read(job_id: str) -> None:
    """Log that this request's caller gets the inputs or the result of a job."""
    log.info("payloads.read", by=principal_name(), job_id=job_id)


def require_access(principal: Principal, role: Role, visibility: Visibility) -> None:
    """Raise `Problem` (403) where the principal's role or tenant does not allow a request."""
    if visibility is Visibility.OWN and principal.grants.own:
        return
    if not principal.role.covers(role):
        own = " or `own`" if visibility is Visibility.OWN else ""
        raise _forbidden(
            f"token {principal.name!r} has the role {principal.role}, this needs {role}{own}"
        )
    if visibility is Visibility.SYSTEM and principal.grants.tenant:
        raise _forbidden(
            f"token {principal.name!r} is of the tenant {principal.grants.tenant!r}, and this"
            " concerns every tenant: use a token without a tenant"
        )


def has_access(principal: Principal, role: Role, visibility: Visibility) -> bool:
    """Whether the principal's role and tenant allow a request."""
    try:
        require_access(principal, role, visibility)
    except Problem:
        return False
    return True


def _forbidden(detail: str) -> Problem:
    headers = {"WWW-Authenticate": f'{REALM}, error="insufficient_scope"'}
    return Problem(403, "forbidden", "Forbidden", detail, headers=headers)


def unauthorized(detail: str, challenge: str = REALM) -> Problem:
    """A request without valid credentials (401)."""
    headers = {"WWW-Authenticate": challenge}
    return Problem(401, "unauthorized", "Unauthorized", detail, headers=headers)
