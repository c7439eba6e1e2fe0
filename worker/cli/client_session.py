"""How a command reaches the API: settings, connection, failures in one line.

The slow imports (aiohttp, pydantic) are made here, and only when a command runs.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from worker.cli.exit_codes import InvalidSettings

if TYPE_CHECKING:
    from config.settings import Settings
    from worker.cli.api_client import ApiClient

T = TypeVar("T")

STATUS_ENQUEUED: Final = 202
"""HTTP status of a request that made a job; 200: the same request came before."""

STATUS_ERROR: Final = 400
"""The first HTTP status that is an error."""


def read_settings() -> "Settings":
    """The settings; raises `InvalidSettings` where one is wrong."""
    from config.environment import load  # noqa: PLC0415  see above
    from config.settings import SettingsError  # noqa: PLC0415  see above

    try:
        return load()
    except SettingsError as error:
        raise InvalidSettings(str(error)) from None


def call_api(call: "Callable[[ApiClient], Awaitable[T]]") -> T:
    """Run `call` with a client of the API; every expected failure is a `CommandFailure`."""
    settings = read_settings()

    import asyncio  # noqa: PLC0415  see above

    from worker.cli.api_client import open_client  # noqa: PLC0415  see above

    async def session() -> T:
        token = settings.api_token.get_secret_value() if settings.api_token else None
        async with open_client(settings.cli_url, token) as api:
            return await call(api)

    return asyncio.run(session())
