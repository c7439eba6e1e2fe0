"""The usage rows of every account: one for each API run, and those of other programs."""

from dataclasses import dataclass, field
from typing import Final

from worker.sandbox.provider.accounts import User
from worker.sandbox.provider.catalogue import SandboxKind, SandboxMode
from worker.sandbox.provider.replies import Credits, JsonObject
from worker.sandbox.provider.runs import RunState, SandboxRun, format_time

SOURCES: Final = {SandboxKind.MODEL: "api-slim", SandboxKind.WORKFLOW: "api-workflow"}

_WHOLESALE_USD: Final = 0.000_47
_PAID_USD: Final = 0.001
"""Dollars of one credit, at the rates of the documented example."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRun:
    """A run of another program of the account; it is in no ledger."""

    kind: SandboxKind
    target: str
    started_at: float
    takes_s: float
    credits: Credits
    request_id: str


@dataclass(frozen=True, slots=True)
class SandboxUsageRow:
    """One row: `id` increases in the order in which rows are written."""

    id: int
    user: User
    run: SandboxRun | ForeignRun

    def view(self, now: float) -> JsonObject:
        """Return the row as the provider sends it."""
        run = self.run
        if isinstance(run, ForeignRun):
            ended = now >= run.started_at + run.takes_s
            return self._row(
                kind=run.kind,
                target=run.target,
                nodes=[run.target],
                status=RunState.COMPLETED if ended else RunState.PROCESSING,
                price=run.credits,
                takes_s=run.takes_s if ended else None,
                code=None,
                request_id=run.request_id,
                started_at=run.started_at,
            )
        state = run.state_at(now)
        ended = run.has_ended(now)
        failure = run.failure if ended and run.end is RunState.FAILED else None
        deducted = run.cost if run.is_charged and not run.is_refunded else 0
        shown = run.options.usage.credits
        return self._row(
            kind=run.target.kind,
            target=run.target.name,
            nodes=list(run.target.nodes),
            status=RunState.PROCESSING if state is RunState.CANCEL_REQUESTED else state,
            price=deducted if shown is None else shown,
            takes_s=run.ends_at - run.started_at if ended else None,
            code=failure.code if failure else None,
            request_id=run.request_id,
            started_at=run.started_at,
        )

    def _row(
        self,
        *,
        kind: SandboxKind,
        target: str,
        nodes: list[str],
        status: str,
        price: Credits,
        takes_s: float | None,
        code: str | None,
        request_id: str,
        started_at: float,
    ) -> JsonObject:
        return {
            "id": self.id,
            "userId": self.user.id,
            "workflowSlug": target if kind is SandboxKind.WORKFLOW else None,
            "modelIds": nodes,
            "status": status,
            "source": SOURCES[kind],
            "cost": round(price * _WHOLESALE_USD, 6),
            "userCost": round(price * _PAID_USD, 6),
            "creditsCost": price,
            "durationMs": None if takes_s is None else round(takes_s * 1000),
            "errorCode": code,
            "requestId": request_id,
            "createdAt": format_time(started_at),
        }


@dataclass(slots=True)
class UsageBook:
    """The rows of every account, and the runs whose row is not written yet.

    The row of an async run is written when it starts, that of a sync run when it ends. `late_s`:
    rows are written later by this; a run's own option takes precedence.
    """

    late_s: float = 0.0
    rows: list[SandboxUsageRow] = field(default_factory=list[SandboxUsageRow])
    unwritten: list[SandboxRun] = field(default_factory=list[SandboxRun])

    def add_run(self, run: SandboxRun) -> None:
        """A run has started; its row follows, unless its options say that it never does."""
        if not run.options.usage.missing:
            self.unwritten.append(run)

    def add_foreign(self, user: User, run: ForeignRun) -> None:
        """Write the row of another program's run."""
        self.rows.append(SandboxUsageRow(len(self.rows) + 1, user, run))

    def write_due(self, now: float) -> None:
        """Write the rows whose time has come, in the order of these times."""
        due = [run for run in self.unwritten if self._written_at(run) <= now]
        for run in sorted(due, key=self._written_at):
            self.rows.append(SandboxUsageRow(len(self.rows) + 1, run.key.user, run))
        if due:
            self.unwritten = [run for run in self.unwritten if self._written_at(run) > now]

    def _written_at(self, run: SandboxRun) -> float:
        own = run.options.usage.late_s
        begins = run.started_at if run.mode is SandboxMode.ASYNC else run.ends_at
        return begins + (self.late_s if own is None else own)
