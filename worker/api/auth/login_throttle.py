"""How fast logins may be tried: wrong tokens cost their sender time, and everybody a little.

One address waits longer after each wrong token, a minute at most, whatever it sends meanwhile. That
many addresses try at once is no reason to lock out people with a right token: when too many fail in
all, each login takes a moment, and only so many are looked at together. Memory is bounded.
"""

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

FREE_FAILURES: Final = 3
"""Wrong tokens of one address that cost nothing yet."""

MAX_WAIT_S: Final = 60.0
FORGET_AFTER_S: Final = 900.0
"""An address that was quiet for so long starts anew."""

MAX_ADDRESSES: Final = 4_096

OVERALL_FREE_FAILURES: Final = 30
"""Wrong tokens a minute, of all addresses, before everybody is slowed."""

OVERALL_WINDOW_S: Final = 60.0
MAX_DELAY_S: Final = 2.0
MAX_IN_PROGRESS: Final = 32
"""Logins that are looked at together."""

MAX_AUDITED_PER_MINUTE: Final = 10
"""Failed logins that get a line of the audit of their own; the next one tells how many did not."""

_IPV6_NETWORK: Final = 64


@dataclass(slots=True)
class _AddressFailures:
    count: int = 0
    allowed_at: float = 0.0
    last_failed_at: float = 0.0


class LoginThrottle:
    """Who has to wait before the next login, and how long."""

    def __init__(self) -> None:
        self._failures_by_address: OrderedDict[str, _AddressFailures] = OrderedDict()
        self._failure_times: deque[float] = deque(maxlen=OVERALL_FREE_FAILURES * 8)
        self._audited_times: deque[float] = deque(maxlen=MAX_AUDITED_PER_MINUTE)
        self._unaudited_count = 0
        self.in_progress = 0

    @property
    def address_count(self) -> int:
        """How many addresses are known to have failed."""
        return len(self._failures_by_address)

    def wait_s(self, address: str, now: float) -> float:
        """Seconds this address has to wait; 0 where it may try."""
        known = self._failures_by_address.get(_address_key(address))
        if self.in_progress >= MAX_IN_PROGRESS:
            return MAX_DELAY_S
        return max(0.0, known.allowed_at - now) if known is not None else 0.0

    def delay_s(self, now: float) -> float:
        """Seconds that a login takes for everybody, from how many failed within a minute."""
        while self._failure_times and self._failure_times[0] < now - OVERALL_WINDOW_S:
            self._failure_times.popleft()
        excess = len(self._failure_times) - OVERALL_FREE_FAILURES
        return 0.0 if excess <= 0 else min(MAX_DELAY_S, 0.1 * excess)

    def record_failure(self, address: str, now: float) -> None:
        """Note a wrong token."""
        self._failure_times.append(now)
        name = _address_key(address)
        known = self._failures_by_address.pop(name, None)
        if known is None or known.last_failed_at < now - FORGET_AFTER_S:
            known = _AddressFailures()
        known.count += 1
        known.last_failed_at = now
        excess = known.count - FREE_FAILURES
        known.allowed_at = now + min(MAX_WAIT_S, 2.0 ** min(excess, 10)) if excess >= 0 else now
        self._failures_by_address[name] = known
        if len(self._failures_by_address) > MAX_ADDRESSES:
            self._failures_by_address.popitem(last=False)

    def record_success(self, address: str) -> None:
        """A right token: its address starts anew."""
        self._failures_by_address.pop(_address_key(address), None)

    def failures_to_audit(self, now: float) -> int | None:
        """How many failures the next line of the audit stands for; None where there are enough.

        Anybody can fail, and the audit is kept for ever.
        """
        self._unaudited_count += 1
        full = len(self._audited_times) == MAX_AUDITED_PER_MINUTE
        if full and self._audited_times[0] > now - OVERALL_WINDOW_S:
            return None
        self._audited_times.append(now)
        count, self._unaudited_count = self._unaudited_count, 0
        return count


def _address_key(address: str) -> str:
    """Whoever has one IPv6 address has 2^64."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if found.version == 4:  # noqa: PLR2004
        return address
    return str(ipaddress.ip_network((int(found), _IPV6_NETWORK), strict=False))
