"""Job ids of tenants: two tenants may use the same id, and it names two jobs.

A job of a tenant has the id `<tenant>~<the app's id>`, in Redis, in logs and for operators; a job
of no tenant has the app's id alone. `~` is in neither of the two parts, and needs no escape in a
URL. So which tenant a job belongs to is a function of its id, and a record needs no field for it.
"""

import re
from typing import Final

from jobs.lanes import ACCOUNT_LABEL, JOB_ID, JobId

TENANT: Final = ACCOUNT_LABEL
"""The characters of a tenant's name."""

TENANT_MARK: Final = "~"

STORED_JOB_ID: Final = re.compile(f"(?:{TENANT.pattern}{TENANT_MARK})?{JOB_ID.pattern}")
"""An id as it is stored: of any tenant, or of none."""


def tenant_job_id(tenant: str, app_id: str) -> JobId:
    """The stored id of the job that an app of a tenant names `app_id`.

    >>> tenant_job_id("studio", "order-1"), tenant_job_id("", "order-1")
    ('studio~order-1', 'order-1')
    """
    return JobId(f"{tenant}{TENANT_MARK}{app_id}" if tenant else app_id)


def tenant_of(job_id: str) -> str:
    """The tenant of a job; empty for none."""
    tenant, mark, _ = job_id.partition(TENANT_MARK)
    return tenant if mark else ""


def hold_owner(tenant: str, token: str) -> str:
    """In whose share the holds count that a job places: its tenant's, or without one its token's.

    >>> hold_owner("studio", "app"), hold_owner("", "app")
    ('studio~', 'app')
    """
    return f"{tenant}{TENANT_MARK}" if tenant else token


def app_job_id(job_id: str) -> str:
    """The id as the app of the job's tenant knows it."""
    _, mark, app_id = job_id.partition(TENANT_MARK)
    return app_id if mark else job_id
