"""Limits how fast tokens can be guessed at the login.

An address waits longer after each wrong token, a minute at most, whatever it sends meanwhile. The
same wrong token counts once, as a program that repeats an old one guesses nothing. An attack from
many addresses must not lock out operators with a right token: when too many logins fail in all,
each login is delayed a little, and a limited number is checked at once. Memory is bounded.
"""

import contextlib
import hashlib
import secrets
from collections import OrderedDict, deque
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Final

from worker.api.edge.client_address import client_network

FREE_FAILURES: Final = 3
"""Wrong tokens of one address before it has to wait."""

MAX_WAIT_S: Final = 60.0
FORGET_AFTER_S: Final = 900.0
"""The failures of an address are forgotten when it sent nothing for so long."""

MAX_ADDRESSES: Final = 4_096
MAX_REPEATED: Final = 8
"""Wrong tokens of an address that count once, however often it sends them."""

OVERALL_FREE_FAILURES: Final = 30
"""Wrong tokens a minute, of all addresses, before every login is delayed."""

OVERALL_WINDOW_S: Final = 60.0
MAX_DELAY_S: Final = 2.0
MAX_IN_PROGRESS: Final = 32
"""Logins that are checked at once."""

MAX_AUDITED_PER_MINUTE: Final = 10
"""Failed logins with an audit entry of their own; the next entry says how many had none."""


@dataclass(slots=True)
class _AddressFailures:
    count: int = 0
    allowed_at: float = 0.0
    last_failed_at: float = 0.0
    digests: deque[bytes] = field(default_factory=lambda: deque(maxlen=MAX_REPEATED))
    """Of the last wrong tokens that counted."""


class LoginThrottle:
    """How long an address has to wait before its next login."""

    def __init__(self) -> None:
        self._failures_by_address: OrderedDict[str, _AddressFailures] = OrderedDict()
        self._failure_times: deque[float] = deque(maxlen=OVERALL_FREE_FAILURES * 8)
        self._audited_times: deque[float] = deque(maxlen=MAX_AUDITED_PER_MINUTE)
        self._unaudited_count = 0
        self._in_progress = 0
        self._key = secrets.token_bytes(32)

    @property
    def address_count(self) -> int:
        """Addresses with failures that are not forgotten."""
        return len(self._failures_by_address)

    def wait_s(self, address: str, now: float) -> float:
        """Seconds this address has to wait; 0 where it may log in now."""
        known = self._failures_by_address.get(client_network(address))
        if self._in_progress >= MAX_IN_PROGRESS:
            return MAX_DELAY_S
        return max(0.0, known.allowed_at - now) if known is not None else 0.0

    @contextlib.contextmanager
    def attempt(self, now: float) -> Generator[float]:
        """Count a login as in progress; yields the seconds to delay it."""
        self._in_progress += 1
        try:
            yield self.delay_s(now)
        finally:
            self._in_progress -= 1

    def delay_s(self, now: float) -> float:
        """Seconds to delay each login, from the number that failed within the last minute."""
        while self._failure_times and self._failure_times[0] < now - OVERALL_WINDOW_S:
            self._failure_times.popleft()
        excess = len(self._failure_times) - OVERALL_FREE_FAILURES
        return 0.0 if excess <= 0 else min(MAX_DELAY_S, 0.1 * excess)

    def record_failure(self, address: str, secret: str, now: float) -> bool:
        """Record a wrong token; returns whether it counts: one that is repeated does not.

        One that it repeats for ever counts again each `FORGET_AFTER_S`.
        """
        name, digest = client_network(address), self._digest(secret)
        known = self._failures_by_address.pop(name, None)
        if known is None or known.last_failed_at < now - FORGET_AFTER_S:
            known = _AddressFailures()
        self._failures_by_address[name] = known
        if len(self._failures_by_address) > MAX_ADDRESSES:
            self._failures_by_address.popitem(last=False)
        if digest in known.digests:
            return False
        self._failure_times.append(now)
        known.digests.append(digest)
        known.count += 1
        known.last_failed_at = now
        excess = known.count - FREE_FAILURES
        known.allowed_at = now + min(MAX_WAIT_S, 2.0 ** min(excess, 10)) if excess >= 0 else now
        return True

    def record_success(self, address: str) -> None:
        """Record a right token: the failures of its address are forgotten."""
        self._failures_by_address.pop(client_network(address), None)

    def failures_to_audit(self, now: float, *, counts: bool) -> int | None:
        """How many failures the next audit entry covers; None: write no entry now.

        `counts`: as `record_failure` returned. Everyone can cause failures, and the audit is kept
        for ever.
        """
        self._unaudited_count += 1
        full = len(self._audited_times) == MAX_AUDITED_PER_MINUTE
        if not counts or (full and self._audited_times[0] > now - OVERALL_WINDOW_S):
            return None
        self._audited_times.append(now)
        count, self._unaudited_count = self._unaudited_count, 0
        return count

    def _digest(self, secret: str) -> bytes:
        """What is remembered of a wrong token, which may be a right one of somewhere else."""
        data = secret.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(data, key=self._key, digest_size=16).digest()
