"""Reduces a screenshot to 256 colours: a third of the bytes, and no visible difference.

The browser decodes the image and counts its colours, because it is fast; Python writes the file.
"""

import base64
import struct
import zlib
from typing import Any

from playwright.sync_api import Page

_REDUCE = """async data => {
  const image = new Image();
  image.src = `data:image/png;base64,${data}`;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, image.width, image.height).data;
  const colour = at => (pixels[at] << 16) | (pixels[at + 1] << 8) | pixels[at + 2];
  const counts = new Map();
  for (let at = 0; at < pixels.length; at += 4) {
    counts.set(colour(at), (counts.get(colour(at)) || 0) + 1);
  }
  const distance = (a, b) =>
    ((a >> 16) - (b >> 16)) ** 2 +
    (((a >> 8) & 255) - ((b >> 8) & 255)) ** 2 +
    ((a & 255) - (b & 255)) ** 2;
  // First colours that differ clearly, so that a small red dot stays red; then frequent colours.
  const byFrequency = [...counts].sort((a, b) => b[1] - a[1]).map(([key]) => key);
  const palette = [];
  for (const key of byFrequency) {
    if (palette.length < 128 && palette.every(one => distance(one, key) >= 400)) palette.push(key);
  }
  for (const key of byFrequency) {
    if (palette.length < 256 && !palette.includes(key)) palette.push(key);
  }
  const indexes = new Map(palette.map((key, index) => [key, index]));
  const indexOf = key => {
    if (!indexes.has(key)) {
      let best = 0;
      for (let n = 1; n < palette.length; n++) {
        if (distance(palette[n], key) < distance(palette[best], key)) best = n;
      }
      indexes.set(key, best);
    }
    return indexes.get(key);
  };
  const chunks = [];
  for (let row = 0; row < image.height; row++) {
    const line = new Uint8Array(image.width);
    for (let x = 0; x < image.width; x++) line[x] = indexOf(colour((row * image.width + x) * 4));
    chunks.push(String.fromCharCode(...line));
  }
  return {width: image.width, height: image.height, palette, pixels: btoa(chunks.join(""))};
}"""


def shrink(page: Page, png: bytes) -> bytes:
    """The PNG with at most 256 colours; `page` is any page of a browser."""
    found: dict[str, Any] = page.evaluate(_REDUCE, base64.b64encode(png).decode())
    width, height = int(found["width"]), int(found["height"])
    pixels = base64.b64decode(found["pixels"])
    rows = b"".join(b"\0" + pixels[at : at + width] for at in range(0, width * height, width))
    palette = b"".join(struct.pack(">I", colour)[1:] for colour in found["palette"])
    return write_png(
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", palette),
        (b"IDAT", zlib.compress(rows, 9)),
        (b"IEND", b""),
    )


def write_png(*chunks: tuple[bytes, bytes]) -> bytes:
    """The bytes of a PNG file with these chunks."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
