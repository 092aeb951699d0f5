"""The process that decodes images. It trusts nothing it reads and has nothing worth stealing.

It is started by `thumbnailer.py`, takes jobs on its standard input and answers on its standard
output: a line of JSON, then as many bytes as that line says. It ends with its input. A limit that
it meets (memory, processor time) costs the job, or this process, never the server.
"""

from __future__ import annotations

import ctypes
import io
import os
import resource
import signal
import sys
from collections.abc import Mapping
from typing import IO, Any, Final

import orjson
from PIL import Image, ImageSequence

from kerwen.base import limits
from kerwen.media.thumbnail_sizes import Box, Size, Variant, geometry

FORMATS: Final = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "GIF": "image/gif",
    "WEBP": "image/webp",
}
AS_IS_MAX: Final = 512 * limits.KIB  # a small image up to this is its own thumbnail
_JPEG_QUALITY: Final = 80
_WEBP_QUALITY: Final = 75
_PROFILE_MAX: Final = 4 * limits.KIB  # colour profiles up to this are kept
_ORIENTATION: Final = 0x0112  # EXIF tag
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FRAME_MS: Final = 100

Answer = tuple[dict[str, Any], bytes]


class TooLarge(Exception):
    """More pixels than we decode."""


def thumbnail(data: bytes, wanted: Variant) -> tuple[str, bytes | None]:
    """The type and bytes of a thumbnail; None for bytes if the image itself will do.

    Raises whatever the decoder raises on a broken image.
    """
    with Image.open(io.BytesIO(data), formats=tuple(FORMATS)) as image:
        if image.width * image.height > limits.IMAGE_PIXELS_MAX:
            raise TooLarge
        moving = getattr(image, "n_frames", 1) > 1
        turn = image.getexif().get(_ORIENTATION, 1)
        turned = turn >= 5  # width and height change places
        seen = (image.height, image.width) if turned else image.size
        size, box = geometry(seen, wanted)
        small = size == seen and len(data) <= AS_IS_MAX
        if moving and wanted.animated and _may_move(image):
            return "image/webp", None if small and image.format == "WEBP" else _film(
                image, size, box
            )
        if small and not moving:
            image.load()  # broken images are told apart here
            return FORMATS[str(image.format)], None
        if turned:
            size, box = (size[1], size[0]), (box[1], box[0], box[3], box[2])
        shrunk = _shrink(image, size, box)
        if turn in _TURNS:
            shrunk = shrunk.transpose(_TURNS[turn])
        return _encode(shrunk, image.info)


def _may_move(image: Image.Image) -> bool:
    frames: int = getattr(image, "n_frames", 1)
    return (
        frames <= limits.THUMBNAIL_FRAMES_MAX
        and frames * image.width * image.height <= limits.THUMBNAIL_PIXELS_MAX
    )


def _shrink(image: Image.Image, size: Size, box: Box) -> Image.Image:
    """The image at its new size, in a mode that our encoders know."""
    shown = box[2] - box[0], box[3] - box[1]
    factor = min(image.width / shown[0], image.height / shown[1])
    if image.format == "JPEG":
        before = image.size
        # decodes a half, a quarter or an eighth where that is enough
        image.draft(None, (int(size[0] * factor * 2), int(size[1] * factor * 2)))
        scale_x, scale_y = image.width / before[0], image.height / before[1]
        box = (box[0] * scale_x, box[1] * scale_y, box[2] * scale_x, box[3] * scale_y)
    plain = _plain(image)
    if size != plain.size or box != (0, 0, *plain.size):
        box = (box[0], box[1], min(box[2], plain.width), min(box[3], plain.height))
        plain = plain.resize(size, Image.Resampling.LANCZOS, box, reducing_gap=2.0)
    return plain


def _plain(image: Image.Image) -> Image.Image:
    """The pixels as L, RGB or RGBA."""
    if image.mode.startswith("I"):  # 16 bits a pixel
        return image.point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in ("L", "RGB", "RGBA"):
        image.load()
        return image
    if image.mode in ("LA", "La", "PA", "RGBa") or "transparency" in image.info:
        return image.convert("RGBA")
    return image.convert("L" if image.mode == "1" else "RGB")


def _encode(image: Image.Image, info: Mapping[Any, Any]) -> tuple[str, bytes]:
    """JPEG, or PNG where something shines through."""
    if image.mode == "L" and "transparency" in info:
        image = image.convert("RGBA")
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        image = image.convert("RGB")
    profile = info.get("icc_profile") or b""
    keep = profile if len(profile) <= _PROFILE_MAX and image.mode == "RGB" else None
    out = io.BytesIO()
    if image.mode == "RGBA":
        image.save(out, "PNG", compress_level=6)
        return "image/png", out.getvalue()
    image.save(out, "JPEG", quality=_JPEG_QUALITY, icc_profile=keep, exif=b"")
    return "image/jpeg", out.getvalue()


def _film(image: Image.Image, size: Size, box: Box) -> bytes:
    """An animated WebP of all frames."""
    frames, times = [], []
    for frame in ImageSequence.Iterator(image):
        times.append(int(frame.info.get("duration") or _FRAME_MS))
        whole = frame.convert("RGBA")
        frames.append(whole.resize(size, Image.Resampling.BILINEAR, box, reducing_gap=2.0))
    out = io.BytesIO()
    frames[0].save(
        out,
        "WEBP",
        save_all=True,
        append_images=frames[1:],
        duration=times,
        loop=image.info.get("loop", 0),
        quality=_WEBP_QUALITY,
        method=2,
        exif=b"",
        icc_profile=b"",
    )
    return out.getvalue()


def answer(job: dict[str, Any], data: bytes) -> Answer:
    """What goes back for a job. An image may break any way it likes."""
    wanted = Variant(job["width"], job["height"], job["crop"], job["animated"])
    try:
        content_type, made = thumbnail(data, wanted)
    except (TooLarge, Image.DecompressionBombError, MemoryError):
        return {"error": "too_large", "size": 0}, b""
    except Exception as error:  # a decoder's bug is a broken image
        return {"error": "broken", "why": type(error).__name__, "size": 0}, b""
    if made is None:
        return {"type": content_type, "as_is": True, "size": 0}, b""
    return {"type": content_type, "as_is": False, "size": len(made)}, made


def _confine(memory: int, seconds: int) -> None:
    """Gives up what a decoder does not need."""
    os.nice(5)
    for what, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        resource.setrlimit(what, (limit, limit))
    _grant_seconds(seconds)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides when we end
    Image.MAX_IMAGE_PIXELS = limits.IMAGE_PIXELS_MAX
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: never outlive the server
        libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    except (OSError, AttributeError):
        pass  # not Linux: the closed input ends us


def _grant_seconds(seconds: int) -> None:
    """Processor time for one job, on top of what is spent."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def serve(source: IO[bytes], sink: IO[bytes], seconds: int) -> None:
    """Jobs, one after the other, until the input ends."""
    while line := source.readline(1000):
        job = orjson.loads(line)
        data = source.read(job["size"])
        _grant_seconds(seconds)
        head, body = answer(job, data)
        sink.write(orjson.dumps(head) + b"\n" + body)
        sink.flush()


def main() -> None:
    """`python -m kerwen.media.thumbnail_worker MEMORY SECONDS`"""
    memory, seconds = int(sys.argv[1]), int(sys.argv[2])
    _confine(memory, seconds)
    serve(sys.stdin.buffer, sys.stdout.buffer, seconds)


if __name__ == "__main__":
    main()
