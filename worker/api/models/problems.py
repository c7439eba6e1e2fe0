"""The body of an error response: RFC 9457 problem details."""

from msgspec import UNSET, UnsetType

from jobs.states import State
from worker.api.models.response import ResponseModel


class ProblemResponse(ResponseModel):
    """RFC 9457 problem details; `field` names the field, parameter or header at fault.

    `reason`: why Redis refuses, its first word such as `NOREPLICAS`.
    """

    type: str
    title: str
    status: int
    detail: str
    field: str | UnsetType = UNSET
    state: State | UnsetType = UNSET
    reason: str | UnsetType = UNSET
