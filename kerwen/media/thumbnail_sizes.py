"""Which thumbnails exist, and what part of an image becomes one.

Sizes that are asked for are rounded up to a few steps, so that an image has few thumbnails.
"scale" fits the whole image into the box of its step; "crop" cuts it to the aspect that was
asked for. Nothing is ever made larger than the image is. # CS #thumbnails
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from kerwen.base import limits

SCALE_STEPS: Final = (
    (320, 240),
    (640, 480),
    (800, 600),
    (1600, 1200),
    (3200, 2400),
    (limits.THUMBNAIL_SIDE_MAX, limits.THUMBNAIL_SIDE_MAX),
)
CROP_STEPS: Final = (32, 96, 256, 512, 1024, 2048, limits.THUMBNAIL_SIDE_MAX)

Size = tuple[int, int]
Box = tuple[float, float, float, float]
"""Left, upper, right and lower edge in pixels of the image."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One thumbnail of an image, in pixels."""

    width: int
    height: int
    crop: bool
    animated: bool

    @property
    def name(self) -> str:
        """The variant as its row names it."""
        method = "crop" if self.crop else "scale"
        return f"{self.width}x{self.height}-{method}" + ("-animated" if self.animated else "")


def variant(width: int, height: int, *, crop: bool, animated: bool) -> Variant:
    """The thumbnail that answers a wish; both sides are 1 to `THUMBNAIL_SIDE_MAX`."""
    if crop:
        longest = max(width, height)
        step = next(step for step in CROP_STEPS if step >= longest)
        width, height = -(-width * step // longest), -(-height * step // longest)
    else:
        width, height = next(step for step in SCALE_STEPS if step[0] >= width and step[1] >= height)
    return Variant(width, height, crop, animated)


def geometry(image: Size, wanted: Variant) -> tuple[Size, Box]:
    """The size of the thumbnail, and the part of the image that it shows."""
    width, height = image
    if wanted.crop:
        shown_width = min(width, height * wanted.width / wanted.height)
        shown_height = min(height, width * wanted.height / wanted.width)
        left, upper = (width - shown_width) / 2, (height - shown_height) / 2
        box = (left, upper, left + shown_width, upper + shown_height)
    else:
        shown_width, shown_height = float(width), float(height)
        box = (0.0, 0.0, shown_width, shown_height)
    factor = min(wanted.width / shown_width, wanted.height / shown_height, 1.0)
    size = max(1, round(shown_width * factor)), max(1, round(shown_height * factor))
    return size, box
