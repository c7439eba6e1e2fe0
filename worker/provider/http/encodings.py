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
    """Return the plain body. `encoding`: the value of `Content-Encoding`.

    Raises ResponseTooLarge, and UnreadableEncoding for other encodings and damaged bodies.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    for window in _WINDOWS.get(name, ()):
        decompressor = zlib.decompressobj(window)
        try:
            plain = decompressor.decompress(body, max_bytes + 1)
        except zlib.error:
            continue
        if len(plain) > max_bytes:
            raise ResponseTooLarge
        if decompressor.eof:
            return plain
    raise UnreadableEncoding(name)
