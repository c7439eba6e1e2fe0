"""Lists that come in pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

T_co = TypeVar("T_co", covariant=True)


class Page(Protocol[T_co]):
    """A page of a list."""

    @property
    def items(self) -> Sequence[T_co]:
        """The items of this page."""
        raise NotImplementedError

    @property
    def next_cursor(self) -> str | None:
        """Where the next page begins; None on the last one."""
        raise NotImplementedError
