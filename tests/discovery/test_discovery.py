"""What programs find when somebody gives them no more than an address."""

from __future__ import annotations

import json
import plistlib
import ssl
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree as Xml
from typing import Any

import pytest

from kerwen.base.config import Config
from kerwen.mail import client_settings, mta_sts
from tests.conftest import Server

OUTLOOK = "{http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a}"


def get(server: Server, path: str, body: bytes | None = None, *, host: str = "") -> Any:
    asked = urllib.request.Request(server.https_url + path, data=body)
    if host:
        asked.add_header("Host", host)
    trust = ssl.create_default_context(cafile=str(server.ca))
    return urllib.request.urlopen(asked, context=trust)


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/mail/config-v1.1.xml?emailaddress=ayna@kerwen.test", "autoconfig.kerwen.test"),
        ("/.well-known/autoconfig/mail/config-v1.1.xml", "kerwen.test"),
    ],
)
def test_autoconfig(server: Server, path: str, host: str) -> None:
    with get(server, path, host=host) as answer:
        assert answer.headers["content-type"].startswith("application/xml")
        found = Xml.fromstring(answer.read())
    assert found.tag == "clientConfig"
    assert found.attrib == {"version": "1.1"}
    provider = found.find("emailProvider")
    assert provider is not None
    assert provider.findtext("domain") == "kerwen.test"
    told = {
        (one.attrib["type"], one.findtext("socketType"), int(one.findtext("port") or 0))
        for one in [*provider.iter("incomingServer"), *provider.iter("outgoingServer")]
    }
    base = server.port_base
    assert {
        ("imap", "SSL", base + 993), ("imap", "STARTTLS", base + 143),
        ("smtp", "SSL", base + 465), ("smtp", "STARTTLS", base + 587),
    } <= told  # fmt: skip
    names = {one.text for one in provider.iter("username")}
    assert names == {"%EMAILADDRESS%"}
    first = provider.find("incomingServer")
    assert first is not None
    assert (first.attrib["type"], first.findtext("socketType")) == ("imap", "SSL")


ASKED = b"""<?xml version="1.0" encoding="utf-8"?>
<Autodiscover xmlns="http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006">
<Request><EMailAddress>%b</EMailAddress><AcceptableResponseSchema>
http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a
</AcceptableResponseSchema></Request></Autodiscover>"""


@pytest.mark.parametrize("folder", ["autodiscover", "Autodiscover", "AutoDiscover"])
def test_autodiscover(server: Server, folder: str) -> None:
    with get(server, f"/{folder}/{folder}.xml", ASKED % b"ayna@kerwen.test") as answer:
        found = Xml.fromstring(answer.read())
    protocols = {one.findtext(OUTLOOK + "Type"): one for one in found.iter(OUTLOOK + "Protocol")}
    assert {"IMAP", "SMTP"} <= set(protocols)
    assert protocols["IMAP"].findtext(OUTLOOK + "Port") == str(server.port_base + 993)
    assert protocols["IMAP"].findtext(OUTLOOK + "SSL") == "on"
    assert protocols["SMTP"].findtext(OUTLOOK + "LoginName") == "ayna@kerwen.test"


@pytest.mark.parametrize(
    "body", [b"x", ASKED % b"ayna@elsewhere.test", ASKED % b"&x;@kerwen.test", b"<" * 9000]
)
def test_autodiscover_for_others_is_an_error_in_its_form(server: Server, body: bytes) -> None:
    with get(server, "/autodiscover/autodiscover.xml", body) as answer:
        text = answer.read().decode()
    assert "<ErrorCode>600</ErrorCode>" in text
    assert "Protocol" not in text


def test_autodiscover_json_leads_to_the_other_form(server: Server) -> None:
    path = "/autodiscover/autodiscover.json"
    for asked in (
        f"{path}?Email=ayna@kerwen.test&Protocol=AutodiscoverV1",
        f"{path}/v1.0/ayna@kerwen.test?protocol=autodiscoverv1",
    ):
        with get(server, asked) as answer:
            told = json.load(answer)
        assert told["Protocol"] == "AutodiscoverV1"
        assert told["Url"].endswith("/autodiscover/autodiscover.xml")
    with pytest.raises(urllib.error.HTTPError) as error:
        get(server, f"{path}?Protocol=EWS")
    assert error.value.code == 404


def test_a_profile_for_apple(server: Server) -> None:
    query = urllib.parse.urlencode({"address": "Ayna@kerwen.test", "name": "Aýna & <co>"})
    with get(server, f"/_kerwen/apple.mobileconfig?{query}") as answer:
        assert answer.headers["content-type"] == "application/x-apple-aspen-config"
        body = answer.read()
    profile = plistlib.loads(body)
    (mail,) = profile["PayloadContent"]
    assert profile["PayloadType"] == "Configuration"
    assert mail["EmailAccountType"] == "EmailTypeIMAP"
    assert mail["EmailAddress"] == "ayna@kerwen.test"
    assert mail["EmailAccountName"] == "Aýna & <co>"
    assert mail["IncomingMailServerPortNumber"] == server.port_base + 993
    assert mail["OutgoingMailServerPortNumber"] == server.port_base + 465
    assert not any("Password" in key and isinstance(v, str) and v != "EmailAuthPassword"
                   for key, v in mail.items())  # fmt: skip
    with get(server, f"/_kerwen/apple.mobileconfig?{query}") as answer:
        assert answer.read() == body, "the same again replaces itself"


@pytest.mark.parametrize(
    "address", ["", "x", "a@elsewhere.test", "<a>@kerwen.test", "@kerwen.test"]
)
def test_a_profile_for_others_is_refused(server: Server, address: str) -> None:
    query = urllib.parse.urlencode({"address": address})
    with pytest.raises(urllib.error.HTTPError) as error:
        get(server, f"/_kerwen/apple.mobileconfig?{query}")
    assert error.value.code == 400


def test_the_mta_sts_policy_is_one_that_we_would_keep_ourselves(server: Server) -> None:
    with get(server, "/.well-known/mta-sts.txt", host="mta-sts.kerwen.test") as answer:
        assert answer.headers["content-type"].startswith("text/plain")
        body = answer.read()
    policy = mta_sts.parse(body)
    assert policy == mta_sts.of_house("kerwen.test", "enforce")
    assert mta_sts.allows(policy, "kerwen.test")
    assert mta_sts.own_id(policy) != mta_sts.own_id(mta_sts.of_house("kerwen.test", "testing"))


def test_doors_that_are_shut_are_not_told() -> None:
    config = Config(domain="a.test", mail="on", listen={"imap": "off", "submission": "off"})
    found = client_settings.doors(config)
    assert {(door.use, door.tls) for door in found} >= {("imap", True), ("smtp", True)}
    assert all(door.tls and door.host == "a.test" for door in found)
    assert client_settings.doors(Config(domain="a.test", mail="off")) == ()
