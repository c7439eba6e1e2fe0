"""Whether the polls of a worker get answers, for its heartbeat."""

from typing import Final

from jobs.outcomes import CallFailure, PollOutcome

MIN_FAILURES: Final = 3
"""Polls in a row without an answer from which on a worker reports it."""

FORGET_AFTER_S: Final = 600.0
"""Longer than any pause between two polls of a run: after this the run has ended otherwise."""

SERVER_ERROR: Final = 500


class PollHealth:
    """Counts polls in a row that got no answer of the provider, or a server error."""

    def __init__(self) -> None:
        self._failures = 0
        self._since: float | None = None
        self._last_at = 0.0
        self._why = ""

    def record(self, outcome: PollOutcome, now: float) -> None:
        """Note the outcome of a poll. Any answer of the provider ends the row."""
        if not isinstance(outcome, CallFailure) or _is_answer(outcome):
            self._failures, self._since, self._why = 0, None, ""
            return
        self._failures += 1
        self._since = now if self._since is None else self._since
        self._last_at = now
        self._why = outcome.why

    def failing_since(self, now: float) -> float | None:
        """Since when no poll got an answer, Unix seconds.

        None while polls are answered, and where none was made for a while.
        """
        is_failing = self._failures >= MIN_FAILURES and now - self._last_at < FORGET_AFTER_S
        return self._since if is_failing else None

    def failure(self, now: float) -> str:
        """Why the last poll got no answer; empty where `failing_since` is None."""
        return "" if self.failing_since(now) is None else self._why


def _is_answer(failure: CallFailure) -> bool:
    return failure.http_status is not None and failure.http_status < SERVER_ERROR
