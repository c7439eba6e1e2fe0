"""How long a job waits after a retryable error."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter (Brooker, "Exponential Backoff and Jitter", AWS 2015).

    After attempt n the wait is `uniform(0, min(cap_s, base_s * 2^(n-1)))` seconds.
    """

    base_s: float = 2.0
    cap_s: float = 300.0

    def __post_init__(self) -> None:
        """Raise ValueError unless 0 ≤ base_s ≤ cap_s."""
        if not 0 <= self.base_s <= self.cap_s:
            raise ValueError(f"base_s {self.base_s} must lie between 0 and cap_s {self.cap_s}")

    def wait_s(self, attempt: int, jitter: float, floor_s: float | None = None) -> float:
        """Seconds to wait after `attempt` (1 is the first), at least `floor_s`.

        `jitter` is in [0, 1). `floor_s` is the provider's `Retry-After`.
        """
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, 60))
        return max(floor_s or 0.0, jitter * ceiling)
