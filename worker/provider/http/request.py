"""A request as a value, and its bytes for one origin."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One request. `path` is below the base URL, already quoted."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)


class Origin:
    """Encodes requests to one base URL as HTTP/1.1."""

    def __init__(self, base_url: str, user_agent: str) -> None:
        parts = urlsplit(base_url)
        host = parts.hostname or ""
        host = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
        if parts.port is not None:
            host = f"{host}:{parts.port}"
        self._base_path = parts.path.rstrip("/")
        fixed = (f"host: {host}", f"user-agent: {user_agent}", "accept-encoding: identity", "")
        self._fixed_head = " HTTP/1.1\r\n" + "\r\n".join(fixed)

    def encode(self, request: HttpRequest) -> bytes:
        """The bytes of a request; ValueError for a header value with a line break in it."""
        lines = [f"{request.method} {self._base_path}{request.path}{self._fixed_head}"]
        for name, value in request.headers.items():
            if not value.isprintable():
                raise ValueError(f"the header {name} has a line break in it")
            lines.append(f"{name}: {value}\r\n")
        body = request.body or b""
        if request.method == "POST":
            lines.append(f"content-length: {len(body)}\r\n")
        lines.append("\r\n")
        return "".join(lines).encode() + body
