"""Reports the key that this worker encrypts payloads under, and finds those that it lacks."""

from typing import Final

import structlog

from worker.engine.wakeups import Wakeup
from worker.store.payload_keys import LACKING_FIX, lacking_text
from worker.store.payloads import PayloadStore

log: Final = structlog.get_logger(__name__)

TICK_S: Final = 60.0
LACKING_TICK_S: Final = 5.0
"""How often it looks while this worker lacks a key, and submits nothing."""


class PayloadKeyReporter:
    """Looks at the start, and then once a minute."""

    name = "payload_key_reporter"

    def __init__(self, payloads: PayloadStore) -> None:
        self._payloads = payloads
        self._logged: frozenset[str] = frozenset()
        self.wakeup = Wakeup()

    async def tick(self, now: float) -> float:
        """Report the key of a worker that lacks none; returns the seconds until the next time."""
        del now
        lacking = await self._payloads.find_lacking()
        if lacking and lacking != self._logged:
            log.error("payload_keys.lacking", why=lacking_text(lacking), fix=LACKING_FIX)
        self._logged = lacking
        if lacking:
            return LACKING_TICK_S
        await self._payloads.report_key()
        return TICK_S
