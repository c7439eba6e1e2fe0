"""From a command to the API and back: settings, connection, and failures in one line.

What takes long to import (aiohttp, pydantic) is imported here and only when a command runs.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from worker.cli.exit_codes import WrongSettings

if TYPE_CHECKING:
    from config.settings import Settings
    from worker.cli.api_client import Api

T = TypeVar("T")


def read_settings() -> "Settings":
    """The settings, checked; a wrong one raises `WrongSettings`."""
    from config.settings import SettingsError, load  # noqa: PLC0415  see above

    try:
        return load()
    except SettingsError as error:
        raise WrongSettings(str(error)) from None


def talk(act: "Callable[[Api], Awaitable[T]]") -> T:
    """Run `act` with a client of the API; every expected failure comes out as `Failure`."""
    settings = read_settings()

    import asyncio  # noqa: PLC0415  see above

    from worker.cli.api_client import connected  # noqa: PLC0415  see above

    async def session() -> T:
        token = settings.api_token.get_secret_value() if settings.api_token else None
        async with connected(settings.cli_url, token) as api:
            return await act(api)

    return asyncio.run(session())
