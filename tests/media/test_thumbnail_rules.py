"""Sizes of thumbnails, and what the decoder makes of images; no process, no loop."""

from __future__ import annotations

import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kerwen.base import limits
from kerwen.media.thumbnail_sizes import Variant, geometry, variant
from kerwen.media.thumbnail_worker import answer, thumbnail
from tests.media.images import film, opened, picture

CROP96 = Variant(96, 96, True, False)
SCALE320 = Variant(320, 240, False, False)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ((32, 32, True), "32x32-crop"),
        ((33, 33, True), "96x96-crop"),
        ((30, 20, True), "32x22-crop"),
        ((96, 48, True), "96x48-crop"),
        ((320, 240, False), "320x240-scale"),
        ((1, 1, False), "320x240-scale"),
        ((321, 1, False), "640x480-scale"),
        ((640, 481, False), "800x600-scale"),
        ((801, 600, False), "1600x1200-scale"),
        ((4096, 1, False), "4096x4096-scale"),
    ],
)
def test_wishes_are_rounded_up(asked: tuple[int, int, bool], name: str) -> None:
    width, height, crop = asked
    assert variant(width, height, crop=crop, animated=False).name == name


def test_an_animated_wish_has_a_name_of_its_own() -> None:
    assert variant(96, 96, crop=True, animated=True).name == "96x96-crop-animated"


SIDES = st.integers(1, limits.THUMBNAIL_SIDE_MAX)


@given(SIDES, SIDES, st.booleans(), st.integers(1, 20_000), st.integers(1, 20_000))
def test_geometry_holds_for_all_sizes(w: int, h: int, crop: bool, iw: int, ih: int) -> None:
    wanted = variant(w, h, crop=crop, animated=False)
    assert wanted.width >= w
    assert wanted.height >= h
    (tw, th), (left, upper, right, lower) = geometry((iw, ih), wanted)
    assert 1 <= tw <= max(1, min(iw, wanted.width))  # never made larger, never above the step
    assert 1 <= th <= max(1, min(ih, wanted.height))
    assert 0 <= left < right <= iw + 1e-6
    assert 0 <= upper < lower <= ih + 1e-6
    if not crop:
        assert (left, upper, right, lower) == (0, 0, iw, ih)
        assert tw in (iw, wanted.width) or th in (ih, wanted.height)
    elif iw >= wanted.width and ih >= wanted.height:
        assert (tw, th) == (wanted.width, wanted.height)


@pytest.mark.parametrize(
    ("kind", "mode", "content_type"),
    [
        ("PNG", "RGB", "image/jpeg"),
        ("PNG", "L", "image/jpeg"),
        ("PNG", "1", "image/jpeg"),
        ("PNG", "P", "image/jpeg"),
        ("PNG", "I;16", "image/jpeg"),
        ("PNG", "RGBA", "image/jpeg"),  # nothing shines through
        ("JPEG", "RGB", "image/jpeg"),
        ("JPEG", "CMYK", "image/jpeg"),
        ("JPEG", "L", "image/jpeg"),
        ("GIF", "P", "image/jpeg"),
        ("WEBP", "RGB", "image/jpeg"),
        ("WEBP", "RGBA", "image/jpeg"),
    ],
)
def test_every_mode_is_scaled(kind: str, mode: str, content_type: str) -> None:
    if mode == "I;16":
        out = io.BytesIO()
        Image.new("I;16", (1000, 500), 0x8000).save(out, "PNG")
        data = out.getvalue()
    else:
        data = picture(kind, mode=mode)
    found, made = thumbnail(data, SCALE320)
    assert made is not None
    image = opened(made)
    assert found == content_type
    assert image.size == (320, 160)
    if mode == "I;16":
        assert image.convert("L").getpixel((10, 10)) == pytest.approx(0x80, abs=2)
    elif mode in ("RGB", "P", "CMYK", "RGBA"):
        assert image.convert("RGB").getpixel((20, 20))[0] > 120  # type: ignore[index]
        assert image.convert("RGB").getpixel((300, 140))[2] > 120  # type: ignore[index]


def test_what_shines_through_still_does() -> None:
    out = io.BytesIO()
    image = Image.new("RGBA", (800, 800), (255, 0, 0, 0))
    image.paste((0, 255, 0, 255), (0, 0, 400, 800))
    image.save(out, "PNG")
    found, made = thumbnail(out.getvalue(), CROP96)
    assert found == "image/png"
    assert made is not None
    assert opened(made).getpixel((90, 50))[3] == 0  # type: ignore[index]
    assert opened(made).getpixel((5, 50)) == (0, 255, 0, 255)


def test_crop_shows_the_middle() -> None:
    _, made = thumbnail(picture(size=(1000, 500)), CROP96)
    assert made is not None
    image = opened(made)
    assert image.size == (96, 96)
    assert image.getpixel((10, 10))[0] > 120  # type: ignore[index]
    assert image.getpixel((86, 86))[2] > 120  # type: ignore[index]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_and_removed(orientation: int) -> None:
    source = Image.open(io.BytesIO(picture("JPEG", (1200, 600))))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "where I live"
    out = io.BytesIO()
    source.save(out, "JPEG", exif=exif)
    _, made = thumbnail(out.getvalue(), SCALE320)
    assert made is not None
    assert b"where I live" not in made
    image = opened(made)
    assert image.size == ((320, 160) if orientation < 5 else (120, 240))
    right, low = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    x = image.width * (3 if right else 1) // 4
    y = image.height * (3 if low else 1) // 4
    pixel = image.getpixel((x, y))
    assert pixel[0] > 120 > pixel[2]  # type: ignore[index]  # the red quarter


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_small_image_is_its_own_thumbnail(kind: str) -> None:
    found, made = thumbnail(picture(kind, (100, 50)), SCALE320)
    assert (found, made) == (f"image/{kind.lower()}", None)


def test_a_small_image_is_not_made_larger_by_crop() -> None:
    _, made = thumbnail(picture("PNG", (100, 50)), CROP96)
    assert made is not None
    assert opened(made).size == (50, 50)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_films(kind: str) -> None:
    data = film(kind)
    still_type, still = thumbnail(data, CROP96)
    assert still is not None
    assert still_type in ("image/jpeg", "image/png")
    assert getattr(opened(still), "n_frames", 1) == 1
    moving_type, moving = thumbnail(data, Variant(96, 96, True, True))
    assert moving is not None
    assert moving_type == "image/webp"
    assert opened(moving).n_frames == 3
    assert opened(moving).size == (96, 96)


def test_a_small_film_is_still_when_it_may_not_move() -> None:
    found, made = thumbnail(film("GIF", (60, 60)), SCALE320)
    assert made is not None
    assert getattr(opened(made), "n_frames", 1) == 1
    assert found in ("image/jpeg", "image/png")


def test_a_long_film_stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "THUMBNAIL_FRAMES_MAX", 2)
    found, _ = thumbnail(film(), Variant(96, 96, True, True))
    assert found != "image/webp"


def test_too_many_pixels_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "IMAGE_PIXELS_MAX", 100 * 100)
    head, _ = answer(
        {"width": 96, "height": 96, "crop": True, "animated": False}, picture(size=(101, 100))
    )
    assert head["error"] == "too_large"


SOURCES = [picture("PNG"), picture("JPEG"), picture("GIF", mode="P"), picture("WEBP"), film()]


@pytest.mark.parametrize("source", range(len(SOURCES)))
def test_broken_images_never_raise(source: int) -> None:
    random_bits = random.Random(source)
    data = SOURCES[source]
    job = {"width": 96, "height": 96, "crop": True, "animated": False}
    broken = [data[: len(data) * n // 10] for n in range(9)]
    for _ in range(60):
        changed = bytearray(data)
        for _ in range(random_bits.randint(1, 20)):
            changed[random_bits.randrange(len(changed))] = random_bits.randrange(256)
        broken.append(bytes(changed))
    for item in broken:
        head, body = answer(job, item)
        assert head["size"] == len(body)
        assert head.get("error") or head["type"].startswith("image/")
    head, _ = answer(job, data[:40])
    assert head["error"] == "broken"


@pytest.mark.parametrize(
    "data", [b"", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg></svg>", b"BM" + bytes(60)]
)
def test_other_formats_are_not_tried(data: bytes) -> None:
    head, _ = answer({"width": 96, "height": 96, "crop": True, "animated": False}, data)
    assert head["error"] == "broken"
