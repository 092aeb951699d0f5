"""`kerwen certificate`: what the server shows, and when it will be renewed."""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

from kerwen.base.config import Config


def run(options: Namespace, config_of: Callable[[Any], Config]) -> int:
    """Prints it, or asks the running server to look at once; the exit code."""
    config = config_of(options)
    if options.renew:
        from kerwen.api import admin_socket

        data = config.data_path
        told = admin_socket.ask(data, {"do": "certificate renew"}) if data.is_dir() else None
        why = "no server runs here" if told is None else told.get("refused")
        if why is not None:
            print(f"kerwen: {why}", file=sys.stderr)
            return 1
        assert told is not None
        print(told["done"])
        return 0
    if config.acme is None:
        print("files of yours" if config.tls_cert else "development: an authority of its own")
        return 0
    from kerwen.net.acme.keeper import State

    state = State.read(config.data_path / "keys" / "acme")
    print(f"names    {', '.join(state.names) or 'none yet: a stand-in serves'}")
    if state.names:
        print(f"good     until {_day(state.not_after_s)}; renewed about {_day(state.renew_s)}")
    for name, until_s in state.refused.items():
        print(f"without  {name}, until {_day(until_s)}")
    if state.error:
        print(f"trouble  {state.error}")
    if state.next_try_s > time.time():
        print(f"again    {_day(state.next_try_s)}")
    return 0


def _day(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
