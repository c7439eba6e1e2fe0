"""Bodies that are compressed although requests ask for none."""

import zlib
from typing import Final

from worker.provider.http.failures import ResponseTooLarge, UnreadableEncoding

_WINDOWS: Final = {
    "gzip": (zlib.MAX_WBITS | 16,),
    "x-gzip": (zlib.MAX_WBITS | 16,),
    "deflate": (zlib.MAX_WBITS, -zlib.MAX_WBITS),  # with a zlib header, and as some servers send it
}


def decoded(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return the plain body. `encoding`: the value of `Content-Encoding`, outermost last.

    Raises ResponseTooLarge, and UnreadableEncoding for other encodings and damaged bodies.
    """
    for name in reversed([part.strip().lower() for part in encoding.split(",")]):
        if name not in ("", "identity"):
            body = _decompressed(body, name, max_bytes)
    return body


def _decompressed(body: bytes, name: str, max_bytes: int) -> bytes:
    windows = _WINDOWS.get(name, ())
    for window in windows:
        decompressor = zlib.decompressobj(window)
        try:
            plain = decompressor.decompress(body, max_bytes + 1)
        except zlib.error:
            continue
        if len(plain) > max_bytes:
            raise ResponseTooLarge
        if decompressor.eof:
            return plain
    raise UnreadableEncoding(name, is_known=bool(windows))
