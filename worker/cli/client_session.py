"""From a command to the API and back: settings, connection, and failures in one line.

What takes long to import (aiohttp, pydantic) is imported here and only when a command runs.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from worker.cli.exit_codes import InvalidSettings

if TYPE_CHECKING:
    from config.settings import Settings
    from worker.cli.api_client import ApiClient

T = TypeVar("T")


def read_settings() -> "Settings":
    """The settings, checked; a wrong one raises `WrongSettings`."""
    from config.settings import SettingsError, load  # noqa: PLC0415  see above

    try:
        return load()
    except SettingsError as error:
        raise InvalidSettings(str(error)) from None


def call_api(call: "Callable[[ApiClient], Awaitable[T]]") -> T:
    """Run `act` with a client of the API; every expected failure comes out as `Failure`."""
    settings = read_settings()

    import asyncio  # noqa: PLC0415  see above

    from worker.cli.api_client import open_client  # noqa: PLC0415  see above

    async def session() -> T:
        token = settings.api_token.get_secret_value() if settings.api_token else None
        async with open_client(settings.cli_url, token) as api:
            return await call(api)

    return asyncio.run(session())
