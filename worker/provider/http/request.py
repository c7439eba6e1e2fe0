"""A request as a value, and its URL and headers for one origin."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from yarl import URL

PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. `path` is below the base URL, already quoted."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)


class Origin:
    """One base URL. Credentials in it are not sent: keys travel in headers of their own."""

    def __init__(self, base_url: str) -> None:
        url = URL(base_url).with_user(None)
        self.scheme = url.scheme
        self.host = url.host or ""
        self.port = url.explicit_port or PORTS[self.scheme]
        self._origin = url.origin()
        self._path = url.raw_path.rstrip("/")

    @property
    def name(self) -> str:
        """`host:port`, for texts."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def url(self, request: HttpRequest) -> URL:
        """The URL of a request; its path is taken as it is, since quoting it again changes it."""
        path = self._path + request.path
        if "?" in path:
            return URL(f"{self._origin}{path}", encoded=True)
        return self._origin.with_path(path, encoded=True)


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise ValueError for a value with a line break, before anything is connected."""
    for name, value in headers.items():
        if not value.isprintable():
            raise ValueError(f"the header {name} has a line break in it")
