"""What is said of a change after it is written: wake-ups, and notices of the event stream.

Nobody depends on them: whoever is woken also polls. So a refused announcement (an ACL user
without channels, a lost connection) never fails the change, and is reported once.
"""

from typing import Final

import structlog
from redis.exceptions import RedisError

from worker.store.client import Client, Command
from worker.store.metrics.buffer import MetricsBuffer
from worker.store.refusals import error_word, redis_refusal

log: Final = structlog.get_logger(__name__)

ACL_FIX: Final = "give the user of KNOUDS_REDIS_URL the channels of the namespace (&<namespace>:*)"


class Announcements:
    """Sends announcements. A refusal is counted each time, and logged when its cause is new."""

    def __init__(self, client: Client, metrics: MetricsBuffer | None = None) -> None:
        self._client = client
        self._metrics = metrics
        self._logged: set[str] = set()

    async def send(self, *commands: Command) -> None:
        """Send commands after a change was written; never raises what Redis raises."""
        try:
            replies = await self._client.try_many(commands)
        except (RedisError, OSError) as error:
            replies = [error]
        for reply in replies:
            if isinstance(reply, Exception):
                refusal = redis_refusal(reply)
                self._record(error_word(reply), refusal.fix if refusal else "")

    def record_refusal(self, text: str) -> None:
        """Note that a script could not announce what it wrote; `text` is the error of Redis."""
        refusal = redis_refusal(text)
        word = refusal.code.value if refusal else text.partition(" ")[0]
        self._record(word, refusal.fix if refusal else "")

    def _record(self, word: str, fix: str) -> None:
        if self._metrics is not None:
            self._metrics.announcement_refused(word)
        if word not in self._logged:
            self._logged.add(word)
            log.warning(
                "wakeups.refused",
                error=word,
                why="changes are written, but nobody is woken: they are found by polling, later",
                fix=ACL_FIX if word == "NOPERM" else fix,
            )
