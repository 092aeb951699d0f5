"""PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}"""

from __future__ import annotations

from kerwen.api.client.keys import device_of
from kerwen.api.http import Cost, Request, Route
from kerwen.base import limits
from kerwen.keys.actions.send_to_device import SendToDevice
from kerwen.keys.to_device import messages

_BODY_MAX = 8 * limits.MIB


class ToDeviceApi:
    """Messages to devices (CS #send-to-device-messaging)."""

    def __init__(self, send: SendToDevice) -> None:
        self._send = send

    def routes(self) -> list[Route]:
        """The lines of the table."""
        return [
            Route(
                "PUT",
                "/_matrix/client/v3/sendToDevice/{eventType}/{txnId}",
                self.send,
                cost=Cost.WRITE,
                spec="CS #send-to-device-messaging",
                body_max=_BODY_MAX,
            )
        ]

    async def send(self, request: Request) -> bytes:
        """PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}"""
        params = request.params
        await self._send(
            device_of(request.caller),
            params["eventType"],
            params["txnId"],
            messages(request.object()),
        )
        return b"{}"
