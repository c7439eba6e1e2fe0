"""What an attempt reserves of a budget: part of the record of its job."""

import msgspec


class Reservation(
    msgspec.Struct, frozen=True, array_like=True, gc=False, forbid_unknown_fields=True
):
    """Credits of one budget that an attempt may cost; it is settled where it was reserved."""

    budget: str
    """The name of the budget."""
    generation: int
    """That of the budget when it was reserved: one of an earlier budget says nothing of it."""
    period: str
    """The period in which the job was admitted, such as `2026-11-27`."""
    amount: int
    """Millionths of a credit; 0 where nothing was known of the cost."""
