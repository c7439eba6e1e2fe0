"""How many bytes of responses may be in memory at once, of one client and of all.

A large response waits for its share before its data is read. The clients that wait have their turn
one after another, so that one that asks for much delays itself.
"""

import asyncio
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

from worker.api.edge.body_budget import OverBudget

SMALL_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class _Waiter:
    size_bytes: int
    admitted: "asyncio.Future[None]"


@dataclass(slots=True)
class ResponseBudget:
    """The bytes in memory, and the responses that wait until theirs fit."""

    total_bytes: int
    client_bytes: int
    wait_s: float
    small_bytes: int = SMALL_BYTES
    """A response of at most so much is counted, and never waits."""
    _used_by: Counter[str] = field(default_factory=Counter[str])
    _used: int = 0
    _waiting: "OrderedDict[str, deque[_Waiter]]" = field(
        default_factory=OrderedDict[str, deque[_Waiter]]
    )
    """By client, in the order in which they have their turn."""

    @property
    def used_bytes(self) -> int:
        """The bytes that are in memory now."""
        return self._used

    async def take(self, client: str, size_bytes: int) -> None:
        """Count bytes that are about to be read; raises `OverBudget` where they find no room.

        More than the whole share of a client fits where the client has nothing else.
        """
        if size_bytes <= self.small_bytes or (
            client not in self._waiting and self._fits(client, size_bytes)
        ):
            self.add(client, size_bytes)
            return
        waiter = _Waiter(size_bytes, asyncio.get_running_loop().create_future())
        self._waiting.setdefault(client, deque()).append(waiter)
        try:
            async with asyncio.timeout(self.wait_s):
                await waiter.admitted
        except BaseException as error:
            if waiter.admitted.done() and not waiter.admitted.cancelled():
                if isinstance(error, TimeoutError):
                    return  # room was found at the last moment
                self.give_back(client, size_bytes)
            is_first = self._waiting.get(client, deque([waiter]))[0] is waiter
            self._forget(client, waiter)
            if isinstance(error, TimeoutError):
                is_of_client = not is_first or not self._fits_share(client, size_bytes)
                raise OverBudget(is_of_client=is_of_client) from None
            raise

    def add(self, client: str, size_bytes: int) -> None:
        """Count bytes that are in memory already."""
        self._used_by[client] += size_bytes
        self._used += size_bytes

    def give_back(self, client: str, size_bytes: int) -> None:
        """Count bytes that are kept no more, and let in what fits now."""
        self._used -= size_bytes
        self._used_by[client] -= size_bytes
        if not self._used_by[client]:
            del self._used_by[client]
        self._admit()

    def _fits_share(self, client: str, size_bytes: int) -> bool:
        used = self._used_by.get(client, 0)
        return not used or used + size_bytes <= self.client_bytes

    def _fits(self, client: str, size_bytes: int) -> bool:
        has_room = not self._used or self._used + size_bytes <= self.total_bytes
        return has_room and self._fits_share(client, size_bytes)

    def _admit(self) -> None:
        """Let in what fits, of each client in turn."""
        while (client := self._next_client()) is not None:
            queue = self._waiting[client]
            waiter = queue.popleft()
            if queue:
                self._waiting.move_to_end(client)
            else:
                del self._waiting[client]
            if not waiter.admitted.done():
                self.add(client, waiter.size_bytes)
                waiter.admitted.set_result(None)

    def _next_client(self) -> str | None:
        """The first client whose next response fits into its share, if it fits into the rest.

        If not, all wait for it: else the small ones always went before the large.
        """
        for client, queue in self._waiting.items():
            size_bytes = queue[0].size_bytes
            if queue[0].admitted.done() or self._fits_share(client, size_bytes):
                fits = queue[0].admitted.done() or self._fits(client, size_bytes)
                return client if fits else None
        return None

    def _forget(self, client: str, waiter: _Waiter) -> None:
        queue = self._waiting.get(client, deque())
        if waiter in queue:
            queue.remove(waiter)
            if not queue:
                del self._waiting[client]
            self._admit()
