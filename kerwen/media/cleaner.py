"""The worker that cleans up after media, now and then."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from kerwen.base.errors import Refused, Unavailable
from kerwen.media.actions.clean import Clean
from kerwen.media.actions.keep import Keep

log = logging.getLogger("kerwen.media")

FIRST_S: Final = 300  # a start has other work to do
EVERY_S: Final = 6 * 3600


async def run_cleaner(
    clean: Clean, keep: Keep, first_s: float = FIRST_S, every_s: float = EVERY_S
) -> None:
    """Cleans until it is cancelled; what fails once is tried again the next time."""
    await asyncio.sleep(first_s)
    while True:
        try:
            kept = await keep.run()
            cut, expired, swept = await clean.prove(), await clean.expire(), await clean.sweep()
            if cut or expired or swept or kept:
                extra = {"cut": cut, "expired": expired, "swept": swept, "removed": kept}
                log.info("media cleaned", extra=extra)
        except (Refused, Unavailable) as error:
            log.warning("media not cleaned", extra={"why": str(error)})
        await asyncio.sleep(every_s)
