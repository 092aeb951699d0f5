"""What programs look for when somebody gives them no more than an address: autoconfig,
autodiscover, a profile for Apple's devices, and the MTA-STS policy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from kerwen.api.http import Access, Cost, Reply, Request, Route
from kerwen.base.config import Config
from kerwen.base.errors import Reason, Refused
from kerwen.mail import client_settings, mta_sts

_XML: Final = [(b"content-type", b"application/xml; charset=utf-8")]
_TEXT: Final = [(b"content-type", b"text/plain; charset=utf-8")]
_APPLE: Final = [
    (b"content-type", b"application/x-apple-aspen-config"),
    (b"content-disposition", b'attachment; filename="mail.mobileconfig"'),
]
_FREE: Final = (Access.ANYONE, Cost.FREE)
_ADDRESS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}@[A-Za-z0-9.-]{1,255}")
_ASKED: Final = re.compile(rb"<(?:\w+:)?EMailAddress>\s*([^<\s]{3,320})\s*</")
_BODY_MAX: Final = 16_384
_INVALID_REQUEST: Final = 600  # MS-OXDSCLI §2.2.4.1.1.1.1


class DiscoveryApi:
    """The same for every name that leads here: a server has one domain."""

    def __init__(self, config: Config) -> None:
        self._domain = config.server_name.partition(":")[0]
        self._doors = client_settings.doors(config)
        self._policy = mta_sts.text(mta_sts.of_house(self._domain, config.mta_sts))
        self._base = config.https_url

    def routes(self) -> Iterable[Route]:
        """Its lines of the table."""
        page = "docs/discovery.md"
        for path in ("/mail/config-v1.1.xml", "/.well-known/autoconfig/mail/config-v1.1.xml"):
            yield Route("GET", path, self.autoconfig, *_FREE, page)
        for folder in ("autodiscover", "Autodiscover", "AutoDiscover"):
            path = f"/{folder}/{folder}"
            for method in ("GET", "POST"):
                yield Route(
                    method, path + ".xml", self.autodiscover, *_FREE, page, body_max=_BODY_MAX
                )
            yield Route("GET", path + ".json", self.autodiscover_json, *_FREE, page)
            yield Route("GET", path + ".json/v1.0/{address}", self.autodiscover_json, *_FREE, page)
        yield Route("GET", "/.well-known/mta-sts.txt", self.mta_sts, *_FREE, "RFC 8461 §3.2")
        yield Route("GET", "/_kerwen/apple.mobileconfig", self.apple, *_FREE, page)

    async def autoconfig(self, request: Request) -> Reply:
        """`GET …/config-v1.1.xml`: Thunderbird, K-9, Delta Chat, KMail, Evolution."""
        return Reply(client_settings.autoconfig(self._doors, self._domain), 200, _XML)

    async def autodiscover(self, request: Request) -> Reply:
        """`GET, POST /autodiscover/autodiscover.xml`: Outlook, and those that ask as it does."""
        found = _ASKED.search(request.body)
        address = found[1].decode("utf-8", "replace") if found else "%EMAILADDRESS%"
        if request.body and (found is None or not self._is_ours(address)):
            text = "The request holds no address of this domain"
            return Reply(client_settings.autodiscover_error(_INVALID_REQUEST, text), 200, _XML)
        return Reply(client_settings.autodiscover(self._doors, address), 200, _XML)

    async def autodiscover_json(self, request: Request) -> Any:
        """`GET /autodiscover/autodiscover.json`: leads to the form above (MS-OXDISCO)."""
        asked = {name.lower(): value for name, value in request.query_values().items()}
        protocol = asked.get("protocol", "")
        if protocol.lower() != "autodiscoverv1":
            raise Refused(Reason.NOT_FOUND, "Only Protocol=AutodiscoverV1 is spoken here")
        return {"Protocol": "AutodiscoverV1", "Url": f"{self._base}/autodiscover/autodiscover.xml"}

    async def apple(self, request: Request) -> Reply:
        """`GET /_kerwen/apple.mobileconfig?address=…&name=…`: it holds no password."""
        address = request.need_query("address")
        if not self._is_ours(address):
            raise Refused(Reason.INVALID_PARAM, "This is no address of this domain")
        name = request.query("name") or address.partition("@")[0]
        if len(name) > 200 or not name.isprintable():
            raise Refused(Reason.INVALID_PARAM, "This is no name")
        return Reply(client_settings.apple_profile(self._doors, address.lower(), name), 200, _APPLE)

    async def mta_sts(self, request: Request) -> Reply:
        """`GET /.well-known/mta-sts.txt`: what servers that bring mail are promised."""
        return Reply(self._policy, 200, _TEXT)

    def _is_ours(self, address: str) -> bool:
        good = _ADDRESS.fullmatch(address) is not None
        return good and address.rpartition("@")[2].lower() == self._domain
