"""The configuration: `config.toml`, and each of its keys also as a flag of the command line.

Flags win over the file. Whatever is wrong is said in one line (`BadConfig`).
"""

from __future__ import annotations

import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

PORTS: Final = {
    "http": 80,
    "https": 443,
    "smtp": 25,
    "submission": 587,
    "submissions": 465,
    "imap": 143,
    "imaps": 993,
    "pop3": 110,
    "pop3s": 995,
    "managesieve": 4190,
    "federation": 8448,
}
"""Every kind of listener and its standard port."""

CHAT_KINDS: Final = frozenset({"http", "https", "federation"})
TLS_KINDS: Final = frozenset({"https", "federation", "submissions", "imaps", "pop3s"})

ACME_DIRECTORIES: Final = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}

DEV_DOMAIN: Final = "kerwen.test"
DEV_PORT_BASE: Final = 10_000
_REFUSED_BY_BROWSERS: Final = frozenset({6000, 10_080})  # Fetch, "bad port": what 80 may become
_OTHER_HTTP: Final = 8080  # counts then as the address: it stands behind in `listeners`
PORT_BASE_MAX: Final = 65_535 - max(PORTS.values())

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,253}[a-z0-9])?")


class BadConfig(Exception):
    """The configuration cannot be used; the text is one line for the operator."""


class Listen(msgspec.Struct, frozen=True):
    """One listener: its kind, and where. An empty host means every interface."""

    kind: str
    host: str
    port: int

    @property
    def tls(self) -> bool:
        """Whether its connections begin with TLS."""
        return self.kind in TLS_KINDS

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host or "*"
        return f"{self.kind}={host}:{self.port}"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every setting. `None` means that the default depends on `dev`; see the properties."""

    dev: Annotated[
        bool,
        Meta(
            description="Everything on loopback with an authority of its own, open registration,"
            " no rate limits, no DNS and no packet off this machine."
        ),
    ] = False
    data: Annotated[
        str | None,
        Meta(description="The data folder. Default: `data`, with `--dev` `dev-data`."),
    ] = None
    domain: Annotated[
        str | None,
        Meta(
            description="The name after the colon of every user and the @ of every address; it"
            " may carry a port. It can never be changed. With `--dev`: `kerwen.test`."
        ),
    ] = None
    port_base: Annotated[
        int | None,
        Meta(description="Added to every standard port. Default: 0, with `--dev` 10000."),
    ] = None
    hosts: Annotated[
        str | None,
        Meta(
            description="With `--dev`: a TOML file of where other servers are, for example"
            ' `"b.test" = {matrix = "127.0.0.1:28448"}`.'
        ),
    ] = None
    dns: Annotated[
        list[str],
        Meta(
            description="The address of a DNS server to ask (`127.0.0.1`, `127.0.0.1:5353`) instead"
            " of those in `/etc/resolv.conf`; may be repeated. With `--dev` nobody is asked unless"
            " one on loopback is given."
        ),
    ] = []
    dns_trusted: Annotated[
        bool | None,
        Meta(
            description="Whether to believe the DNS servers when they say that an answer is proved"
            " by DNSSEC (needed for DANE): they must validate, and the way to them must be safe."
            " Default: yes if all are on loopback."
        ),
    ] = None
    listen: Annotated[
        dict[str, str],
        Meta(
            description="Where a kind of listener stands, for example"
            " `https=127.0.0.1:8801`; `https=off` shuts it. As a flag it may be repeated."
        ),
    ] = {}
    tls_cert: Annotated[
        str | None, Meta(description="The certificate chain, a PEM file. With `--dev` made by us.")
    ] = None
    tls_key: Annotated[str | None, Meta(description="The key of the certificate, a PEM file.")] = (
        None
    )
    acme: Annotated[
        str | None,
        Meta(
            description="Certificates are got and renewed from this authority by ACME:"
            " `letsencrypt`, `letsencrypt-staging` or the URL of a directory. Naming one agrees to"
            " its terms. See `docs/operate/tls.md`."
        ),
    ] = None
    acme_challenge: Annotated[
        Literal["http-01", "tls-alpn-01"],
        Meta(
            description="How the authority looks: at port 80 (`http-01`), or at port 443"
            " (`tls-alpn-01`)."
        ),
    ] = "http-01"
    acme_contact: Annotated[
        list[str],
        Meta(description="An address that the authority may write to. May be repeated."),
    ] = []
    acme_eab_id: Annotated[
        str | None,
        Meta(description="Some authorities know their customers: the id they gave."),
    ] = None
    acme_eab_key: Annotated[
        str | None, Meta(description="The key that goes with it, base64url.")
    ] = None
    ca: Annotated[
        str | None,
        Meta(description="A PEM file with authorities to trust as well for outgoing TLS."),
    ] = None
    proxies: Annotated[
        list[str],
        Meta(
            description="The address of a proxy in front of us: from it, the last address of"
            " `X-Forwarded-For` counts as the caller's. As a flag it may be repeated."
        ),
    ] = []
    app_service: Annotated[
        list[str],
        Meta(description="The registration file of an application service; may be repeated."),
    ] = []
    registration: Annotated[
        Literal["open", "token", "closed"] | None,
        Meta(description="Who may make an account. Default: `closed`, with `--dev` `open`."),
    ] = None
    rate_limits: Annotated[
        bool | None,
        Meta(description="Whether callers are slowed down. Default: yes, with `--dev` no."),
    ] = None
    cheap_passwords: Annotated[
        bool,
        Meta(
            description="With `--dev` only: passwords are hashed at next to no cost, for benches"
            " and tests that register many people."
        ),
    ] = False
    mail: Annotated[
        Literal["on", "off"] | None,
        Meta(
            description="The mail half of the house: SMTP and IMAP. Default: `off`, with `--dev`"
            " `on`."
        ),
    ] = None
    relay: Annotated[
        str | None,
        Meta(
            description="A smart host, `HOST:PORT`, that takes all mail for elsewhere; without it"
            " mail goes to each domain's own servers."
        ),
    ] = None
    relay_tls: Annotated[
        Literal["starttls", "tls", "off"] | None,
        Meta(
            description="How the smart host speaks TLS; its certificate must be good. Default:"
            " `tls` on port 465, else `starttls`."
        ),
    ] = None
    relay_login: Annotated[str | None, Meta(description="Our name at the smart host.")] = None
    relay_password: Annotated[str | None, Meta(description="Our password there.")] = None
    mail_ip: Annotated[
        Literal["both", "4", "6"],
        Meta(description="By which version of IP mail leaves."),
    ] = "both"
    greylisting: Annotated[
        Literal["on", "off"],
        Meta(
            description="Whether servers that bring mail for the first time are asked to come back"
            " in some minutes; most senders of junk do not."
        ),
    ] = "off"
    rspamd: Annotated[
        str | None,
        Meta(
            description="The URL of an rspamd (its normal worker, `http://127.0.0.1:11333`) that is"
            " asked about mail of strangers. Without an answer the mail is taken."
        ),
    ] = None
    arc_sealers: Annotated[
        list[str],
        Meta(
            description="A domain whose ARC seals are believed: what it passes on (mailing lists,"
            " forwarding) is not refused for DMARC. As a flag it may be repeated."
        ),
    ] = []
    mail_reports: Annotated[
        Literal["on", "off"],
        Meta(
            description="Whether domains that ask for it are told once a day how TLS went with"
            " their mail servers (RFC 8460), and what came here in their name (DMARC)."
        ),
    ] = "on"
    mta_sts: Annotated[
        Literal["enforce", "testing", "none"],
        Meta(
            description="What other mail servers are promised of TLS here by MTA-STS (RFC 8461):"
            " with `enforce` they bring mail only to a good certificate. `none` takes a promise"
            " back."
        ),
    ] = "enforce"
    chat: Annotated[Literal["on", "off"], Meta(description="The messenger half of the house.")] = (
        "on"
    )
    database: Annotated[
        str | None,
        Meta(
            description="`postgres://…` for PostgreSQL. Default: SQLite, `kerwen.db` in the data"
            " folder."
        ),
    ] = None
    blobs: Annotated[
        str | None,
        Meta(description="`s3://…` for an object store. Default: `blobs/` in the data folder."),
    ] = None
    url_previews: Annotated[
        Literal["on", "off"],
        Meta(
            description="Whether clients may ask what a link leads to. The server then looks at it,"
            " and so tells its host that somebody here wrote of it."
        ),
    ] = "off"
    keep_messages: Annotated[
        int,
        Meta(
            description="After how many days messages are removed from all rooms; a room's own"
            " timer may be shorter. 0: never.",
            ge=0,
            le=100_000,
        ),
    ] = 0
    keep_files: Annotated[
        int,
        Meta(
            description="After how many days a file that nobody got for as long is removed;"
            " people's and rooms' pictures stay. 0: never.",
            ge=0,
            le=100_000,
        ),
    ] = 0
    keep_cached: Annotated[
        int,
        Meta(
            description="After how many days other servers' files that nobody used are removed from"
            " here; they can be fetched again. 0: never.",
            ge=0,
            le=100_000,
        ),
    ] = 30
    media_budget: Annotated[
        int,
        Meta(
            description="How many GB files may take. Above it thumbnails and other servers' files"
            " go, never people's own. 0: as many as there are.",
            ge=0,
            le=1_000_000_000,
        ),
    ] = 0
    turn_uris: Annotated[
        list[str],
        Meta(
            description="Where calls find a TURN server, for example"
            " `turn:turn.example.org:3478?transport=udp`; may be repeated."
        ),
    ] = []
    turn_secret: Annotated[
        str | None,
        Meta(description="The secret that the TURN server shares (coturn: `static-auth-secret`)."),
    ] = None
    janus: Annotated[
        str | None,
        Meta(
            description="The WebSocket of the Janus that carries group calls, for example"
            " `ws://127.0.0.1:8188`. It must be on a line that nobody else reads. Without it there"
            " are no group calls."
        ),
    ] = None
    janus_secret: Annotated[
        str | None, Meta(description="The secret of that Janus (`api_secret`).")
    ] = None
    calls_relay: Annotated[
        Literal["on", "off"],
        Meta(
            description="Whether the media of group calls goes through the TURN server only, for"
            " networks that let nothing else pass."
        ),
    ] = "off"
    presence: Annotated[
        Literal["on", "off"],
        Meta(
            description="Whether those who share a room with somebody may ask whether they are"
            " there. Nobody is told unasked."
        ),
    ] = "off"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="The least level that is logged."),
    ] = "info"
    metrics_token: Annotated[
        str | None,
        Meta(
            description="The bearer token that may read `/_kerwen/metrics` from elsewhere; from"
            " this machine itself none is asked for."
        ),
    ] = None

    # --- what follows from the settings

    @property
    def data_path(self) -> Path:
        """The data folder, absolute."""
        return folder_of({"data": self.data, "dev": self.dev}).absolute()

    @property
    def server_name(self) -> str:
        """The domain."""
        assert self.domain is not None, "a checked configuration has a domain"
        return self.domain

    @property
    def registration_mode(self) -> str:
        """`open`, `token` or `closed`."""
        return self.registration or ("open" if self.dev else "closed")

    @property
    def limits_rates(self) -> bool:
        """Whether rate limits are in force."""
        return not self.dev if self.rate_limits is None else self.rate_limits

    def listeners(self) -> tuple[Listen, ...]:
        """Every listener that the settings ask for, in the order of `PORTS`."""
        base = self.port_base
        if base is None:
            base = DEV_PORT_BASE if self.dev else 0
        host = "127.0.0.1" if self.dev else ""
        found = []
        for kind, port in PORTS.items():
            where = self.listen.get(kind)
            if where == "off" or (where is None and not self._has(kind)):
                continue
            found.append(Listen(kind, host, base + port) if where is None else _place(kind, where))
            if kind == "http" and where is None and base + port in _REFUSED_BY_BROWSERS:
                found.append(Listen(kind, host, base + _OTHER_HTTP))
        return tuple(found)

    @property
    def ports(self) -> dict[str, int]:
        """Where each kind listens; of two places the one that counts as the address."""
        return {listen.kind: listen.port for listen in self.listeners()}

    @property
    def https_url(self) -> str:
        """Where programs find the HTTPS door, without a slash at the end."""
        host = "127.0.0.1" if self.dev else self.server_name.partition(":")[0]
        port = self.ports.get("https", 443)
        return f"https://{host}" if port == 443 else f"https://{host}:{port}"

    def _has(self, kind: str) -> bool:
        if kind == "federation":
            return self.chat == "on"
        return kind in CHAT_KINDS or self.has_mail

    @property
    def has_mail(self) -> bool:
        """Whether the mail half is on."""
        return self.dev if self.mail is None else self.mail == "on"


def load(flags: Mapping[str, Any], file: Path | None = None, *, serving: bool = True) -> Config:
    """The checked configuration of flags (only those that were given) over a file.

    Without `file`, `config.toml` of the data folder is read if there is one. Commands that open
    no listener (`serving=False`) need not be told what listeners need.
    """
    settings: dict[str, Any] = {}
    path = file or folder_of(flags) / "config.toml"
    if file is not None or path.exists():
        settings = _read(path)
    listen = {**settings.get("listen", {}), **flags.get("listen", {})}
    settings.update(flags)
    if listen:
        settings["listen"] = listen
    if settings.get("domain") is None:
        settings["domain"] = recorded_domain(folder_of(settings)) or (
            DEV_DOMAIN if settings.get("dev") else None
        )
    try:
        config = msgspec.convert(settings, Config)
    except msgspec.ValidationError as error:
        raise BadConfig(str(error)) from None
    _check(config)
    if serving:
        _check_listeners(config)
    return config


def folder_of(settings: Mapping[str, Any]) -> Path:
    """The data folder that settings mean, before they are checked."""
    return Path(str(settings.get("data") or ("dev-data" if settings.get("dev") else "data")))


def recorded_domain(data: Path) -> str | None:
    """The domain that a data folder was made for; None if it is new."""
    try:
        return (data / "domain").read_text("utf-8").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise BadConfig(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path}: {error}") from None
    if not isinstance(found.get("listen", {}), dict):
        raise BadConfig(f"{path}: listen must be a table")
    try:
        msgspec.convert(found, Config)
    except msgspec.ValidationError as error:
        raise BadConfig(f"{path}: {error}") from None
    return found


def _check(config: Config) -> None:
    if config.domain is None:
        raise BadConfig("domain is not set: give --domain NAME or write it into config.toml")
    check_domain(config.domain)
    if config.port_base is not None and not 0 <= config.port_base <= PORT_BASE_MAX:
        raise BadConfig(f"port_base must be from 0 to {PORT_BASE_MAX}")
    if config.hosts is not None and not config.dev:
        raise BadConfig("hosts is for --dev only; elsewhere names are looked up in DNS")
    if (config.tls_cert is None) != (config.tls_key is None):
        raise BadConfig("tls_cert and tls_key belong together: give both")
    _check_acme(config)
    if bool(config.turn_uris) != (config.turn_secret is not None):
        raise BadConfig("turn_uris and turn_secret belong together: give both")
    if config.janus is not None and not config.janus.startswith(("ws://", "wss://")):
        raise BadConfig("janus must be ws://… or wss://…")
    if config.rspamd is not None and not re.match(r"https?://", config.rspamd):
        raise BadConfig("rspamd must be http://… or https://…")
    for uri in config.turn_uris:
        if not uri.startswith(("turn:", "turns:")):
            raise BadConfig(f"turn_uris: {uri} does not begin with turn: or turns:")
    if config.database is not None and not re.match(r"postgres(ql)?://", config.database):
        raise BadConfig("database must be postgres://…, or left out for SQLite")
    if config.blobs is not None and not config.blobs.startswith("s3://"):
        raise BadConfig("blobs must be s3://…, or left out for the data folder")
    for kind in config.listen:
        if kind not in PORTS:
            raise BadConfig(f"there is no listener {kind}; there are: {', '.join(PORTS)}")
    if config.relay is not None:
        relay_place(config.relay)
    if (config.relay_login is None) != (config.relay_password is None):
        raise BadConfig("relay_login and relay_password belong together: give both")
    if config.relay_login is not None and config.relay_tls == "off" and not config.dev:
        raise BadConfig("relay_tls = off would send the relay's password in clear")
    for text in config.dns:
        check_dns_server(text, dev=config.dev)
    for address in config.proxies:
        _check_address(address)
    for name in ("tls_cert", "tls_key", "ca", "hosts"):
        _check_file(name, getattr(config, name))
    for path in config.app_service:
        _check_file("app_service", path)
    config.listeners()  # says what is no place


def _check_acme(config: Config) -> None:
    if config.acme is None:
        return
    if config.tls_cert is not None:
        raise BadConfig("acme and tls_cert exclude each other: give one of them")
    good = r"https://[^/]+/.*" if not config.dev else r"https?://[^/]+/.*"
    if config.acme not in ACME_DIRECTORIES and not re.fullmatch(good, config.acme):
        raise BadConfig("acme must be letsencrypt, letsencrypt-staging or https://…")
    if (config.acme_eab_id is None) != (config.acme_eab_key is None):
        raise BadConfig("acme_eab_id and acme_eab_key belong together: give both")
    if config.acme_eab_key is not None and not re.fullmatch(r"[\w-]+=*", config.acme_eab_key):
        raise BadConfig("acme_eab_key must be base64url")


def _check_address(text: str) -> None:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        raise BadConfig(f"proxies: {text!r} is no network address") from None


def relay_place(text: str) -> tuple[str, int]:
    """Host and port of the smart host. Raises `BadConfig`."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]").lower()
    if not colon or not host or not _is_port(port) or int(port) == 0:
        raise BadConfig(f"relay: {text!r} is not HOST:PORT")
    return host, int(port)


def dns_server(text: str) -> tuple[str, int]:
    """Address and port of a DNS server as the configuration names it. Raises `BadConfig`."""
    host, port = text, "53"
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":") or "53"
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise BadConfig(f"dns: {text!r} is no network address") from None
    if not _is_port(port):
        raise BadConfig(f"dns: {text!r} has no good port")
    return host, int(port)


def check_dns_server(text: str, *, dev: bool) -> None:
    """Refuses what is no DNS server's address, or leaves the machine in development."""
    host, _ = dns_server(text)
    if dev and not ipaddress.ip_address(host).is_loopback:
        raise BadConfig(f"dns: with --dev no packet leaves this machine, {host} is elsewhere")


def _check_file(name: str, path: str | None) -> None:
    if path is not None and not Path(path).is_file():
        raise BadConfig(f"{name}: there is no file {path}")


def _check_listeners(config: Config) -> None:
    taken: dict[tuple[str, int], str] = {}
    for listen in config.listeners():
        if listen.tls and not config.dev and config.tls_cert is None and config.acme is None:
            raise BadConfig(
                f"{listen.kind} needs tls_cert and tls_key, or acme"
                f" (behind a proxy: --listen {listen.kind}=off)"
            )
        other = taken.setdefault((listen.host, listen.port), listen.kind)
        if other != listen.kind and listen.port:
            raise BadConfig(f"{other} and {listen.kind} cannot share port {listen.port}")


def check_domain(domain: str) -> None:
    """Refuses what is no server name (SPEC appendices #server-name); case matters."""
    host, port = domain, ""
    if domain.startswith("["):
        host, _, port = domain[1:].partition("]")
        port = port.removeprefix(":")
        good = _is_ipv6(host)
    else:
        host, _, port = domain.partition(":")
        good = _HOST.fullmatch(host) is not None
    if ":" in domain and not domain.endswith("]") and not _is_port(port):
        good = False
    if not good:
        raise BadConfig(f"domain {domain!r} is no server name (small letters: example.org)")


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 5 and 0 <= int(text) <= 65_535


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _place(kind: str, where: str) -> Listen:
    host, colon, port = where.rpartition(":")
    if not colon or not _is_port(port):
        raise BadConfig(f"listen {kind}={where}: write {kind}=HOST:PORT or {kind}=off")
    host = host.removeprefix("[").removesuffix("]")
    return Listen(kind, "" if host == "*" else host, int(port))
