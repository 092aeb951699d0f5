"""Small images of every kind."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

RED, BLUE = (200, 20, 30), (10, 30, 220)


def picture(
    kind: str = "PNG", size: tuple[int, int] = (1000, 500), mode: str = "RGB", **more: Any
) -> bytes:
    """Red in its upper left quarter, blue elsewhere; not small enough to be served as it is
    unless its size says so."""
    image = Image.new("RGB", size, BLUE)
    image.paste(RED, (0, 0, size[0] // 2, size[1] // 2))
    image = image.convert(mode)
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def bare(size: tuple[int, int], **more: Any) -> bytes:
    """One colour; quick to make also where it is huge."""
    out = io.BytesIO()
    Image.new("P", size).save(out, "PNG", compress_level=1, **more)
    return out.getvalue()


def film(kind: str = "GIF", size: tuple[int, int] = (400, 300), frames: int = 3) -> bytes:
    pictures = [Image.new("RGB", size, (80 * n % 256, 0, 100)) for n in range(frames)]
    out = io.BytesIO()
    pictures[0].save(
        out, kind, save_all=True, append_images=pictures[1:], duration=[50, 70, 90][:frames]
    )
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image
