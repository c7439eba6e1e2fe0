"""Measures the head of a request while it arrives."""

from typing import Final

MAX_HEAD_BYTES: Final = 32 << 10
"""Request line and headers in all; aiohttp bounds only each of them."""

_HEAD_END: Final = b"\r\n\r\n"


class HeadMeter:
    """Counts the bytes of one head up to its empty line; what follows is the body."""

    __slots__ = ("_tail", "is_complete", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = 0
        self.is_complete = False
        self._tail = b""

    @property
    def is_too_large(self) -> bool:
        """Whether the head is larger than `MAX_HEAD_BYTES`, as far as it has arrived."""
        return self.size_bytes > MAX_HEAD_BYTES

    def feed(self, data: bytes) -> None:
        """Count what arrived."""
        if self.is_complete:
            return
        if not self.size_bytes:
            data = data.lstrip(b"\r\n")  # empty lines before a request are skipped (RFC 9112, 2.2)
        text = self._tail + data
        end = text.find(_HEAD_END)
        self.is_complete = end >= 0
        used = end + len(_HEAD_END) if self.is_complete else len(text)
        self.size_bytes += used - len(self._tail)
        self._tail = text[-(len(_HEAD_END) - 1) :]
