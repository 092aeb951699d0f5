"""Shows the answers to challenges: over HTTP by a table, over TLS by the listeners' context."""

# RFC 8555 §8.3, RFC 8737 §3

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kerwen.net.acme.client import Kind
    from kerwen.net.served_tls import ServedTls

_TOKENS_MAX: Final = 200


class ShownAnswers:
    """`tls` is asked for when there is something to show: listeners open late."""

    def __init__(self, tls: Callable[[], ServedTls | None]) -> None:
        self._tls = tls
        self.tokens: dict[str, str] = {}

    def show(self, kind: Kind, name: str, token: str, key_authorisation: str) -> None:
        """From now on, until `hide`."""
        if kind == "http-01":
            if len(self.tokens) < _TOKENS_MAX:
                self.tokens[token] = key_authorisation
            return
        served = self._tls()
        if served is not None:
            from kerwen.net.acme.certs import alpn_answer

            served.show(name, *alpn_answer(name, key_authorisation))

    def hide(self, kind: Kind, name: str, token: str) -> None:
        """It is no longer needed."""
        if kind == "http-01":
            self.tokens.pop(token, None)
        elif (served := self._tls()) is not None:
            served.hide(name)
