"""How fast logins may be tried: wrong tokens cost their sender time, and everybody a little.

One address waits longer after each wrong token, a minute at most, whatever it sends meanwhile. That
many addresses try at once is no reason to lock out people with a right token: when too many fail in
all, each login takes a moment, and only so many are looked at together. Memory is bounded.
"""

import ipaddress
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final

FREE: Final = 3
"""Wrong tokens of one address that cost nothing yet."""

WAIT_MOST_S: Final = 60.0
FORGET_S: Final = 900.0
"""An address that was quiet for so long starts anew."""

ADDRESSES_MOST: Final = 4_096

OVERALL_FREE: Final = 30
"""Wrong tokens a minute, of all addresses, before everybody is slowed."""

OVERALL_S: Final = 60.0
SLOW_MOST_S: Final = 2.0
UNDER_WAY_MOST: Final = 32
"""Logins that are looked at together."""

RECORDED_A_MINUTE: Final = 10
"""Failed logins that get a line of the audit of their own; the next one tells how many did not."""

_IPV6_NETWORK: Final = 64


@dataclass(slots=True)
class _Address:
    failures: int = 0
    free_at: float = 0.0
    seen_at: float = 0.0


class Pace:
    """Who has to wait before the next login, and how long."""

    def __init__(self) -> None:
        self._addresses: OrderedDict[str, _Address] = OrderedDict()
        self._failed: deque[float] = deque(maxlen=OVERALL_FREE * 8)
        self._recorded: deque[float] = deque(maxlen=RECORDED_A_MINUTE)
        self._unrecorded = 0
        self.under_way = 0

    @property
    def addresses(self) -> int:
        """How many addresses are known to have failed."""
        return len(self._addresses)

    def wait_s(self, address: str, now: float) -> float:
        """Seconds this address has to wait; 0 where it may try."""
        known = self._addresses.get(_network(address))
        if self.under_way >= UNDER_WAY_MOST:
            return SLOW_MOST_S
        return max(0.0, known.free_at - now) if known is not None else 0.0

    def slowness_s(self, now: float) -> float:
        """Seconds that a login takes for everybody, from how many failed within a minute."""
        while self._failed and self._failed[0] < now - OVERALL_S:
            self._failed.popleft()
        excess = len(self._failed) - OVERALL_FREE
        return 0.0 if excess <= 0 else min(SLOW_MOST_S, 0.1 * excess)

    def failed(self, address: str, now: float) -> None:
        """Note a wrong token."""
        self._failed.append(now)
        name = _network(address)
        known = self._addresses.pop(name, None)
        if known is None or known.seen_at < now - FORGET_S:
            known = _Address()
        known.failures += 1
        known.seen_at = now
        excess = known.failures - FREE
        known.free_at = now + min(WAIT_MOST_S, 2.0 ** min(excess, 10)) if excess >= 0 else now
        self._addresses[name] = known
        if len(self._addresses) > ADDRESSES_MOST:
            self._addresses.popitem(last=False)

    def succeeded(self, address: str) -> None:
        """A right token: its address starts anew."""
        self._addresses.pop(_network(address), None)

    def to_record(self, now: float) -> int | None:
        """How many failures the next line of the audit stands for; None where there are enough.

        Anybody can fail, and the audit is kept for ever.
        """
        self._unrecorded += 1
        full = len(self._recorded) == RECORDED_A_MINUTE
        if full and self._recorded[0] > now - OVERALL_S:
            return None
        self._recorded.append(now)
        count, self._unrecorded = self._unrecorded, 0
        return count


def _network(address: str) -> str:
    """Whoever has one IPv6 address has 2^64."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if found.version == 4:  # noqa: PLR2004
        return address
    return str(ipaddress.ip_network((int(found), _IPV6_NETWORK), strict=False))
