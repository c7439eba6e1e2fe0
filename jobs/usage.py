"""What the provider lists of an account's runs: one row for each run that was started by API."""

import msgspec

from jobs.states import Kind


class UsageRow(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    gc=False,
    forbid_unknown_fields=True,
):
    """One run of an account, as the provider lists it; None for what a row does not say."""

    id: int
    """Increases row by row."""
    user_id: str | None = None
    kind: Kind | None = None
    """None: the row's source is none that we know."""
    targets: tuple[str, ...] = ()
    """The workflow's slug for a workflow, else the names of the models."""
    status: str = "unknown"
    """`processing`, `completed`, `failed`, `cancelled`, or new."""
    credits: float | None = None
    duration_s: float | None = None
    code: str | None = None
    """The error code of a failed run."""
    request_id: str | None = None
    created_at: float | None = None
    """Unix seconds, by the provider's clock."""
