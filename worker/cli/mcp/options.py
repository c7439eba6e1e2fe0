"""What the command asks for. Nothing of the SDK is loaded here, so that refusals come at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class ToolLevel(Enum):
    """What a tool is for, and so which option of the command opens it."""

    READ = "read"
    ENQUEUE = "enqueue"
    """Runs that cost credits."""
    ACT = "act"
    """What an operator does."""


@dataclass(frozen=True, slots=True)
class McpHttpOptions:
    """Where to listen, and which names and pages may be used to reach it."""

    host: str
    port: int
    """0: any that is free."""
    hosts: Sequence[str] = ()
    """Names beside those of this machine, as `mcp.example.com` or with a port."""
    origins: Sequence[str] = ()
    """Origins of web pages that may call, as `https://chat.example.com`."""

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine reach it."""
        return self.host in LOOPBACK
