"""Which jobs have callbacks, and where these may go."""

from collections.abc import Mapping
from typing import Final

from config.callback_hosts import CallbackHosts, CallbackUrlError
from config.callback_settings import EVERY_ACCOUNT
from jobs.requests import JobRequest
from worker.app.enqueue import InvalidRequest

NOWHERE: Final = CallbackHosts()


class CallbackPolicy:
    """The rules of one process. `default_urls`: by account, or `*`."""

    def __init__(
        self, hosts: CallbackHosts = NOWHERE, default_urls: Mapping[str, str] | None = None
    ) -> None:
        self._hosts = hosts
        self._default_urls = default_urls or {}

    def default_url(self, account: str) -> str | None:
        """Where the callbacks of an account's jobs go that name no URL; None: they have none."""
        return self._default_urls.get(account, self._default_urls.get(EVERY_ACCOUNT))

    def has_callbacks(self, request: JobRequest) -> bool:
        """Whether the job of a request will have callbacks."""
        return (request.callback_url or self.default_url(request.account)) is not None

    def check(self, request: JobRequest) -> None:
        """Raise `InvalidRequest` for a URL that callbacks may not go to."""
        self.check_url(request.callback_url)

    def check_url(self, url: str | None) -> None:
        """As `check`, for the URL alone; None passes."""
        if url is None:
            return
        try:
            self._hosts.check(url)
        except CallbackUrlError as error:
            raise InvalidRequest("callback_url", str(error)) from None
