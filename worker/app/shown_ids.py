"""The ids of jobs as the caller of a request names them: the app's own for a token of a tenant."""

from contextvars import ContextVar
from typing import Final

from jobs.tenants import app_job_id, tenant_of

_TENANT: Final[ContextVar[str]] = ContextVar("tenant of the caller", default="")
"""Each request is a task with a context of its own."""


def set_caller_tenant(tenant: str) -> None:
    """Set whose ids the request that this task serves shows; empty: the stored ones."""
    _TENANT.set(tenant)


def is_of_tenant() -> bool:
    """Whether the caller is of a tenant, and so may know nothing of others."""
    return bool(_TENANT.get())


def shown_job_id(job_id: str) -> str:
    """The id of a job for the caller, also in errors. One of another tenant stays whole."""
    return app_job_id(job_id) if _is_own(job_id) else job_id


def shown_owner(job_id: str | None) -> str | None:
    """The id of a job that something belongs to; None where the caller may not know it."""
    if job_id is None or (is_of_tenant() and not _is_own(job_id)):
        return None
    return shown_job_id(job_id)


def _is_own(job_id: str) -> bool:
    return is_of_tenant() and tenant_of(job_id) == _TENANT.get()
