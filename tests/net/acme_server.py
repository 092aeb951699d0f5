"""An authority of the tests' own (RFC 8555): it checks signatures and nonces, really fetches the
answers to its challenges, and signs what was proved. What it is told to do wrong, it does wrong."""

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
import hmac
import json
import secrets
import ssl
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kerwen.net.acme import certs, jws

PROBLEM = "urn:ietf:params:acme:error:"


class Problem(Exception):
    def __init__(self, kind: str, detail: str = "", status: int = 400, **headers: str) -> None:
        self.kind, self.detail, self.status, self.headers = kind, detail, status, headers


class AcmeServer:
    """`places`: where a name is really: (address, port of HTTP, port of HTTPS)."""

    def __init__(self, places: dict[str, tuple[str, int, int]] | None = None) -> None:
        self.places = places or {}
        self.life = datetime.timedelta(days=90)
        self.eab: dict[str, bytes] | None = None
        self.wrong_nonces = 0  # so many requests are told that their nonce is not good
        self.gate: asyncio.Event | None = None  # nothing is answered before it is set
        self.limited = 0  # so many orders are told to come back in an hour
        self.window: tuple[datetime.datetime, datetime.datetime] | None = None
        self.accounts: dict[str, dict[str, Any]] = {}
        self.orders: dict[str, dict[str, Any]] = {}
        self.authorisations: dict[str, dict[str, Any]] = {}
        self.chains: dict[str, bytes] = {}
        self.said: list[str] = []
        self.seen: list[str] = []  # what was fetched: "http-01 name"
        self._nonces: set[str] = set()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority for tests")])
        self._cert = self._signed(self._name, self._key.public_key(), None)
        self._runner: web.AppRunner | None = None
        self.url = ""

    @property
    def authority(self) -> bytes:
        return self._cert.public_bytes(serialization.Encoding.PEM)

    async def start(self, tls: tuple[Path, Path] | None = None) -> AcmeServer:
        app = web.Application()
        app.router.add_route("GET", "/dir", self._directory)
        app.router.add_route("*", "/nonce", self._nonce)
        app.router.add_route("GET", "/ari/{id}", self._ari)
        app.router.add_route("POST", "/{deed}/{no}", self._posted)
        app.router.add_route("POST", "/{deed}", self._posted)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        context = None
        if tls is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        return self

    async def close(self) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def directory(self) -> str:
        return f"{self.url}/dir"

    # --- answers

    async def _directory(self, request: web.Request) -> web.Response:
        if self.gate is not None:
            await self.gate.wait()
        links = {n: f"{self.url}/{n}" for n in ("newAccount", "newOrder", "revokeCert")}
        links |= {"newNonce": f"{self.url}/nonce", "renewalInfo": f"{self.url}/ari"}
        meta = {
            "externalAccountRequired": self.eab is not None,
            "caaIdentities": ["authority.test"],
        }
        return web.json_response({**links, "meta": meta})

    async def _nonce(self, request: web.Request) -> web.Response:
        return web.Response(headers={"Replay-Nonce": self._fresh()})

    async def _ari(self, request: web.Request) -> web.Response:
        self.said.append(f"ari {request.match_info['id']}")
        if self.window is None:
            return web.Response(status=404)
        start, end = (when.isoformat() for when in self.window)
        return web.json_response({"suggestedWindow": {"start": start, "end": end}})

    def _fresh(self) -> str:
        nonce = secrets.token_urlsafe(12)
        self._nonces.add(nonce)
        return nonce

    async def _posted(self, request: web.Request) -> web.Response:
        deed, number = request.match_info["deed"], request.match_info.get("no", "")
        try:
            head, payload = self._checked(await request.json(), str(request.url))
            status, told, more = await getattr(self, f"do_{deed}")(number, head, payload)
        except Problem as error:
            self.said.append(error.kind)
            status, more = error.status, {k.replace("_", "-"): v for k, v in error.headers.items()}
            told = {"type": PROBLEM + error.kind, "detail": error.detail}
        more = {**more, "Replay-Nonce": self._fresh()}
        if isinstance(told, bytes):
            more["Content-Type"] = "application/pem-certificate-chain"
            return web.Response(status=status, body=told, headers=more)
        return web.json_response(told, status=status, headers=more)

    def _checked(self, body: dict[str, str], url: str) -> tuple[dict[str, Any], Any]:
        head = json.loads(jws.decoded(body["protected"]))
        if head["alg"] != "ES256" or head["url"] != url:
            raise Problem("unauthorized", f"{head['url']} is not {url}", 401)
        if self.wrong_nonces:
            self.wrong_nonces -= 1
            raise Problem("badNonce", "as you wish")
        if head["nonce"] not in self._nonces:
            raise Problem("badNonce")
        self._nonces.remove(head["nonce"])
        jwk = head.get("jwk")
        if jwk is None:
            account = self.accounts.get(head["kid"])
            if account is None:
                raise Problem("accountDoesNotExist")
            jwk = account["jwk"]
        if not jws.is_signed_by(jwk, body["protected"], body["payload"], body["signature"]):
            raise Problem("unauthorized", "a signature that is not the account's", 401)
        head["key"] = jwk
        payload = json.loads(jws.decoded(body["payload"])) if body["payload"] else None
        return head, payload

    async def do_newAccount(self, _: str, head: Any, payload: Any) -> Any:
        assert payload["termsOfServiceAgreed"] is True
        if self.eab is not None:
            bound = payload.get("externalAccountBinding")
            if bound is None:
                raise Problem("externalAccountRequired")
            told = json.loads(jws.decoded(bound["protected"]))
            key = self.eab.get(told["kid"], b"")
            text = f"{bound['protected']}.{bound['payload']}".encode()
            good = hmac.digest(key, text, "sha256") == jws.decoded(bound["signature"])
            if not good or json.loads(jws.decoded(bound["payload"])) != head["jwk"]:
                raise Problem("unauthorized", "no such customer", 401)
        for url, account in self.accounts.items():
            if account["jwk"] == head["jwk"]:
                return 200, {"status": "valid"}, {"Location": url}
        url = f"{self.url}/account/{len(self.accounts)}"
        self.accounts[url] = {"jwk": head["jwk"], **payload}
        return 201, {"status": "valid"}, {"Location": url}

    async def do_newOrder(self, _: str, head: Any, payload: Any) -> Any:
        if self.limited:
            self.limited -= 1
            raise Problem("rateLimited", "too many", 429, Retry_After="3600")
        number = str(len(self.orders))
        names = [one["value"] for one in payload["identifiers"]]
        links = []
        for name in names:
            token = secrets.token_urlsafe(24)
            one = f"{number}.{name}"
            self.authorisations[one] = {
                "status": "pending",
                "identifier": {"type": "dns", "value": name},
                "challenges": [
                    {"type": kind, "url": f"{self.url}/{deed}/{one}", "token": token}
                    for kind, deed in (("http-01", "http"), ("tls-alpn-01", "alpn"))
                ],
                "jwk": head["key"],
            }
            links.append(f"{self.url}/authz/{one}")
        self.orders[number] = {
            "status": "pending",
            "authorizations": links,
            "finalize": f"{self.url}/finalize/{number}",
            "identifiers": payload["identifiers"],
            "replaces": payload.get("replaces", ""),
        }
        return 201, self._order(number), {"Location": f"{self.url}/order/{number}"}

    def _order(self, number: str) -> dict[str, Any]:
        order = self.orders[number]
        mine = [self.authorisations[link.rpartition("/")[2]] for link in order["authorizations"]]
        if order["status"] == "pending":
            if any(one["status"] == "invalid" for one in mine):
                order["status"] = "invalid"
            elif all(one["status"] == "valid" for one in mine):
                order["status"] = "ready"
        return order

    async def do_order(self, number: str, head: Any, payload: Any) -> Any:
        return 200, self._order(number), {}

    async def do_authz(self, number: str, head: Any, payload: Any) -> Any:
        found = self.authorisations[number]
        return 200, {k: v for k, v in found.items() if k != "jwk"}, {}

    async def do_http(self, number: str, head: Any, payload: Any) -> Any:
        return await self._look(number, 0)

    async def do_alpn(self, number: str, head: Any, payload: Any) -> Any:
        return await self._look(number, 1)

    async def _look(self, number: str, which: int) -> Any:
        found = self.authorisations[number]
        challenge = found["challenges"][which]
        name = found["identifier"]["value"]
        key = json.dumps(found["jwk"], sort_keys=True, separators=(",", ":")).encode()
        thumb = base64.urlsafe_b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
        wanted = f"{challenge['token']}.{thumb}"
        try:
            async with asyncio.timeout(5):
                place = self.places[name]
                if which == 0:
                    good = await self._by_http(place, name, challenge["token"]) == wanted
                else:
                    good = await self._by_tls(place, name, wanted)
            self.seen.append(f"{challenge['type']} {name}")
            why = "another answer"
        except (OSError, KeyError, aiohttp.ClientError, TimeoutError) as error:
            good, why = False, f"cannot reach it: {type(error).__name__}"
        found["status"] = challenge["status"] = "valid" if good else "invalid"
        if not good:
            challenge["error"] = {"type": PROBLEM + "unauthorized", "detail": why}
        return 200, challenge, {}

    async def _by_http(self, place: tuple[str, int, int], name: str, token: str) -> str:
        url = f"http://{place[0]}:{place[1]}/.well-known/acme-challenge/{token}"
        async with (
            aiohttp.ClientSession() as session,
            session.get(url, headers={"Host": name}) as answer,
        ):
            return await answer.text() if answer.status == 200 else ""

    async def _by_tls(self, place: tuple[str, int, int], name: str, wanted: str) -> bool:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["acme-tls/1"])
        _, writer = await asyncio.open_connection(
            place[0], place[2], ssl=context, server_hostname=name
        )
        shown = writer.get_extra_info("ssl_object")
        cert = x509.load_der_x509_certificate(shown.getpeercert(True))
        chosen = shown.selected_alpn_protocol()
        writer.close()
        digest = hashlib.sha256(wanted.encode()).digest()
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return (
            chosen == "acme-tls/1"
            and certs.proof_in(cert) == digest
            and names.get_values_for_type(x509.DNSName) == [name]
        )

    async def do_finalize(self, number: str, head: Any, payload: Any) -> Any:
        order = self._order(number)
        if order["status"] != "ready":
            raise Problem("orderNotReady", order["status"], 403)
        csr = x509.load_der_x509_csr(jws.decoded(payload["csr"]))
        assert csr.is_signature_valid
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        wanted = [one["value"] for one in order["identifiers"]]
        if sorted(names.get_values_for_type(x509.DNSName)) != sorted(wanted):
            raise Problem("badCSR", "other names")
        cert = self._signed(x509.Name([]), csr.public_key(), names)
        self.chains[number] = cert.public_bytes(serialization.Encoding.PEM) + self.authority
        order["status"] = "processing"
        told = dict(order)
        order["status"], order["certificate"] = "valid", f"{self.url}/cert/{number}"
        return 200, told, {"Retry-After": "1"}

    async def do_cert(self, number: str, head: Any, payload: Any) -> Any:
        return 200, self.chains[number], {}

    def _signed(self, subject: x509.Name, key: Any, names: Any) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + self.life)
            .add_extension(x509.BasicConstraints(ca=names is None, path_length=None), True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
        )
        if names is not None:
            mine = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
            usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
            builder = builder.add_extension(names, False).add_extension(mine, False)
            builder = builder.add_extension(usage, False)
        return builder.sign(self._key, hashes.SHA256())
