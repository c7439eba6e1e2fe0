"""Who sends a request: a program with a token, an operator with a session, or this machine."""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Final

from config.values import Role
from worker.api.problems import Problem

REALM: Final = 'Bearer realm="knouds-worker"'


@dataclass(frozen=True, slots=True)
class Principal:
    """Who sends a request, and what they may do."""

    name: str
    role: Role
    csrf: str = field(default="", repr=False)
    """CSRF token that unsafe requests of this browser carry; empty for a program with a token."""

    @property
    def sees_payloads(self) -> bool:
        """Whether inputs and results may be shown."""
        return self.role.sees_payloads

    @property
    def may_operate(self) -> bool:
        """Whether actions on jobs and holds are allowed, and their buttons shown."""
        return self.role.covers(Role.OPERATE)


_PRINCIPAL: Final[ContextVar[Principal | None]] = ContextVar("principal", default=None)
"""Each request is a task with a context of its own."""


def set_principal(principal: Principal | None) -> None:
    """Set the principal of the request that this task serves."""
    _PRINCIPAL.set(principal)


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


def require_role(principal: Principal, role: Role) -> None:
    """Raise `Problem` (403) where the principal's role does not cover `role`."""
    if not principal.role.covers(role):
        raise Problem(
            403,
            "forbidden",
            "Forbidden",
            f"token {principal.name!r} has the role {principal.role}, this needs {role}",
            headers={"WWW-Authenticate": f'{REALM}, error="insufficient_scope"'},
        )


def unauthorized(detail: str, challenge: str = REALM) -> Problem:
    """A request without valid credentials (401)."""
    headers = {"WWW-Authenticate": challenge}
    return Problem(401, "unauthorized", "Unauthorized", detail, headers=headers)
