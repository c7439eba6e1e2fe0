"""The response that says who sends a request."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta

from config.values import Role
from worker.api.auth.principal import Principal
from worker.api.models.response import ResponseModel


class CallerResponse(ResponseModel):
    """Who sends a request, and what they may do."""

    name: Annotated[str, Meta(description="as the audit log names it; `local` without tokens")]
    role: Role
    tenant: Annotated[str, Meta(description="the tenant whose jobs it makes and sees, else empty")]
    own: Annotated[bool, Meta(description="whether it may read the jobs of its tenant in any role")]
    accounts: Annotated[
        tuple[str, ...] | None, Meta(description="those it may enqueue for; null: all")
    ]
    kinds: Annotated[tuple[str, ...] | None, Meta(description="those it may enqueue; null: all")]
    targets: Annotated[
        tuple[str, ...] | None,
        Meta(description="those it may enqueue, where `*` stands for any characters; null: all"),
    ]
    operations: Annotated[
        list[str], Meta(description="the ids of the operations of this document that it may call")
    ]


def caller_response(principal: Principal, operations: Sequence[str]) -> CallerResponse:
    """A principal, and the operations that are open to it."""
    grants = principal.grants
    return CallerResponse(
        name=principal.name,
        role=principal.role,
        tenant=grants.tenant,
        own=grants.own,
        accounts=grants.accounts,
        kinds=grants.kinds,
        targets=grants.targets,
        operations=list(operations),
    )
