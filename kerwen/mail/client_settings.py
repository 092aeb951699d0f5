"""What mail programs are told of a server: where each door is, in the forms that they read.

Thunderbird and its kin read `autoconfig`, Outlook `autodiscover` (POX), Apple's devices a profile.
"""

# https://wiki.mozilla.org/Thunderbird:Autoconfiguration:ConfigFileFormat, MS-OXDSCLI §2.2.4,
# Apple "Configuration Profile Reference" (com.apple.mail.managed)

from __future__ import annotations

from html import escape
from typing import Final, Literal

import msgspec

from kerwen.base.config import Config

Use = Literal["imap", "pop3", "smtp"]

_ANY: Final = "%EMAILADDRESS%"
_KINDS: Final[tuple[tuple[str, Use, bool], ...]] = (
    ("imaps", "imap", True),
    ("imap", "imap", False),
    ("pop3s", "pop3", True),
    ("submissions", "smtp", True),
    ("submission", "smtp", False),
)
_APPLE: Final[dict[Use, str]] = {"imap": "EmailTypeIMAP", "pop3": "EmailTypePOP"}
_OUTLOOK: Final = (
    "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006",
    "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a",
)


class Door(msgspec.Struct, frozen=True):
    """One way in: `tls` from the first byte, else by STARTTLS."""

    use: Use
    host: str
    port: int
    tls: bool


def doors(config: Config) -> tuple[Door, ...]:
    """The ways that a program may choose from, the best first; none without mail."""
    if not config.has_mail:
        return ()
    host = "127.0.0.1" if config.dev else config.server_name.partition(":")[0]
    ports = config.ports
    found = [Door(use, host, ports[kind], tls) for kind, use, tls in _KINDS if kind in ports]
    return tuple(found)


def autoconfig(found: tuple[Door, ...], domain: str) -> bytes:
    """`config-v1.1.xml`."""
    servers = "".join(_server(door) for door in found)
    name = escape(domain)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<clientConfig version="1.1">\n'
        f' <emailProvider id="{name}">\n'
        f"  <domain>{name}</domain>\n"
        f"  <displayName>{name}</displayName>\n"
        f"  <displayShortName>{name}</displayShortName>\n"
        f"{servers}"
        " </emailProvider>\n"
        "</clientConfig>\n"
    ).encode()


def _server(door: Door) -> str:
    tag = "outgoingServer" if door.use == "smtp" else "incomingServer"
    return (
        f'  <{tag} type="{door.use}">\n'
        f"   <hostname>{escape(door.host)}</hostname>\n"
        f"   <port>{door.port}</port>\n"
        f"   <socketType>{'SSL' if door.tls else 'STARTTLS'}</socketType>\n"
        "   <authentication>password-cleartext</authentication>\n"
        f"   <username>{_ANY}</username>\n"
        f"  </{tag}>\n"
    )


def autodiscover(found: tuple[Door, ...], address: str) -> bytes:
    """The answer of `autodiscover.xml` (POX) for an address."""
    outer, inner = _OUTLOOK
    protocols = "".join(_protocol(door, address) for door in _best(found))
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<Autodiscover xmlns="{outer}">\n'
        f' <Response xmlns="{inner}">\n'
        f"  <User><DisplayName>{escape(address)}</DisplayName></User>\n"
        "  <Account>\n"
        "   <AccountType>email</AccountType>\n"
        "   <Action>settings</Action>\n"
        f"{protocols}"
        "  </Account>\n"
        " </Response>\n"
        "</Autodiscover>\n"
    ).encode()


def autodiscover_error(code: int, text: str) -> bytes:
    """The answer to a request that is none (MS-OXDSCLI §2.2.4.1.1.1)."""
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<Autodiscover xmlns="{_OUTLOOK[0]}">\n'
        f' <Response><Error Time="00:00:00" Id="0"><ErrorCode>{code}</ErrorCode>'
        f"<Message>{escape(text)}</Message><DebugData/></Error></Response>\n"
        "</Autodiscover>\n"
    ).encode()


def _protocol(door: Door, address: str) -> str:
    return (
        "   <Protocol>\n"
        f"    <Type>{door.use.upper()}</Type>\n"
        f"    <Server>{escape(door.host)}</Server>\n"
        f"    <Port>{door.port}</Port>\n"
        "    <DomainRequired>off</DomainRequired>\n"
        f"    <LoginName>{escape(address)}</LoginName>\n"
        "    <SPA>off</SPA>\n"
        f"    <SSL>{'on' if door.tls else 'off'}</SSL>\n"
        f"    <Encryption>{'SSL' if door.tls else 'TLS'}</Encryption>\n"
        "    <AuthRequired>on</AuthRequired>\n"
        "   </Protocol>\n"
    )


def _best(found: tuple[Door, ...]) -> list[Door]:
    """One door for each use: programs of this kind take the first."""
    return list({door.use: door for door in reversed(found)}.values())[::-1]


def apple_profile(found: tuple[Door, ...], address: str, name: str) -> bytes:
    """A profile for Apple's devices; it holds no password, so the device asks for it.

    The ids come of the address, so the same profile again replaces itself.
    """
    import plistlib  # and what it brings: hardly ever asked for

    domain = address.rpartition("@")[2]
    by_use = {door.use: door for door in _best(found)}
    incoming, outgoing = by_use.get("imap") or by_use["pop3"], by_use["smtp"]
    mail = {
        "PayloadType": "com.apple.mail.managed",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{domain}.mail.{_id(address)}",
        "PayloadUUID": _id("mail " + address),
        "PayloadDisplayName": domain,
        "EmailAccountType": _APPLE[incoming.use],
        "EmailAccountName": name,
        "EmailAccountDescription": domain,
        "EmailAddress": address,
        "IncomingMailServerAuthentication": "EmailAuthPassword",
        "IncomingMailServerHostName": incoming.host,
        "IncomingMailServerPortNumber": incoming.port,
        "IncomingMailServerUseSSL": True,
        "IncomingMailServerUsername": address,
        "OutgoingMailServerAuthentication": "EmailAuthPassword",
        "OutgoingMailServerHostName": outgoing.host,
        "OutgoingMailServerPortNumber": outgoing.port,
        "OutgoingMailServerUseSSL": True,
        "OutgoingMailServerUsername": address,
        "OutgoingPasswordSameAsIncomingPassword": True,
        "SMIMEEnabled": False,
    }
    return plistlib.dumps(
        {
            "PayloadType": "Configuration",
            "PayloadVersion": 1,
            "PayloadIdentifier": f"{domain}.{_id(address)}",
            "PayloadUUID": _id("profile " + address),
            "PayloadDisplayName": f"{domain}: {address}",
            "PayloadOrganization": domain,
            "PayloadRemovalDisallowed": False,
            "PayloadContent": [mail],
        }
    )


def _id(text: str) -> str:
    import uuid

    return str(uuid.uuid5(uuid.NAMESPACE_URL, "kerwen:" + text)).upper()
