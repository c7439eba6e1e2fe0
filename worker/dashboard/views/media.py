"""The media of a result: URLs of images, videos and audio.

The server never fetches them. The browser does, without a referrer, as `media_policy` says. Only
http and https URLs count: `javascript:` and others stay plain text.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Any, Final, cast
from urllib.parse import urlsplit

from worker.api.media_policy import MediaLoading, MediaPolicy
from worker.store.codec import DECODE_ERRORS, decode

MAX_MEDIA: Final = 48
"""Media shown of one result."""

MAX_DEPTH: Final = 12
MAX_URL_CHARS: Final = 4_096
MAX_VALUES: Final = 20_000
"""Values of a result that are searched."""


class MediaKind(StrEnum):
    """How a media item is shown."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    LINK = "link"


@dataclass(frozen=True, slots=True)
class MediaItem:
    """One URL of a result."""

    kind: MediaKind
    url: str
    path: str
    """Its path in the result, such as `images[0]`."""
    loading: MediaLoading = MediaLoading.CLICK
    """Whether the browser loads it by itself."""

    @property
    def is_shown(self) -> bool:
        """Whether the page shows the medium itself."""
        return self.loading is MediaLoading.ALONE and self.kind is not MediaKind.LINK

    @property
    def is_linked(self) -> bool:
        """Whether a click may open it."""
        return self.loading is not MediaLoading.NEVER


_BY_SUFFIX: Final = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".webp", ".gif", ".avif"), MediaKind.IMAGE),
    **dict.fromkeys((".mp4", ".webm", ".mov", ".m4v"), MediaKind.VIDEO),
    **dict.fromkeys((".mp3", ".wav", ".ogg", ".m4a", ".flac", ".aac"), MediaKind.AUDIO),
}
_BY_NAME: Final = (
    ("image", MediaKind.IMAGE),
    ("video", MediaKind.VIDEO),
    ("audio", MediaKind.AUDIO),
)


def media_of(result: bytes | None, policy: MediaPolicy) -> tuple[MediaItem, ...]:
    """The media of a result in its order; empty if the result cannot be decoded."""
    if result is None:
        return ()
    try:
        found = decode(result)
    except (*DECODE_ERRORS, RecursionError):
        return ()
    media: dict[str, MediaItem] = {}
    for number, (path, name, text) in enumerate(_texts(found, "", "", 0)):
        if len(media) >= MAX_MEDIA or number >= MAX_VALUES:
            break
        if is_web_url(text):
            item = MediaItem(_kind(name, text), text, path, policy.loading_of(text))
            media.setdefault(text, item)
    return tuple(media.values())


def is_web_url(text: str) -> bool:
    """Whether a text is exactly one http or https URL with a host."""
    if len(text) > MAX_URL_CHARS or not text.lower().startswith(("http://", "https://")):
        return False
    if any(ord(char) <= ord(" ") or char in '"<>\\^`{|}' for char in text):
        return False
    try:
        return bool(urlsplit(text).hostname)
    except ValueError:
        return False


def _kind(name: str, url: str) -> MediaKind:
    suffix = PurePosixPath(urlsplit(url).path).suffix.lower()
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    for word, kind in _BY_NAME:
        if word in name.lower():
            return kind
    return MediaKind.LINK


def _texts(value: Any, path: str, name: str, depth: int) -> Iterator[tuple[str, str, str]]:
    """Every text of a value as (path, name of its field, text)."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, str):
        yield path, name, value
    elif isinstance(value, list):
        for number, one in enumerate(cast("list[object]", value)):
            yield from _texts(one, f"{path}[{number}]", name, depth + 1)
    elif isinstance(value, dict):
        for key, one in cast("dict[str, Any]", value).items():
            yield from _texts(one, f"{path}.{key}" if path else key, key, depth + 1)
