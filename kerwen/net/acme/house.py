"""What keeps a server's certificate, as its configuration wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from kerwen.base.config import ACME_DIRECTORIES, Config
from kerwen.mail.dns import Dns
from kerwen.net.acme.answers import ShownAnswers
from kerwen.net.acme.keeper import Keeper
from kerwen.net.certificates import public_names
from kerwen.net.outgoing import Outgoing
from kerwen.net.resolver import Resolver
from kerwen.net.served_tls import ServedTls

if TYPE_CHECKING:
    from kerwen.net.acme.client import Acme
    from kerwen.net.acme.jws import AccountKey


class AcmeHouse:
    """The keeper and the answers; `served` is set when the listeners have their context."""

    def __init__(self, config: Config, outgoing: Outgoing) -> None:
        assert config.acme is not None, "who calls has looked"
        self._config = config
        self._outgoing = outgoing
        self._resolver = Resolver.of(config)
        self.served: ServedTls | None = None
        self.answers = ShownAnswers(lambda: self.served)
        self.directory = ACME_DIRECTORIES.get(config.acme, config.acme)
        folder = config.data_path / "keys" / "acme"
        self.keeper = Keeper(folder, self.directory, self._wanted, self._account, self._changed)

    async def close(self) -> None:
        """Ends what is under way."""
        await self._resolver.close()

    async def _wanted(self) -> Sequence[str]:
        """The domain, and those of its other names that have an address."""
        first, *others = public_names(self._config)
        if self._config.dev and not self._config.dns:
            return [first]
        if not await self._leads_somewhere(first):
            return []
        return [first, *[name for name in others if await self._leads_somewhere(name)]]

    async def _leads_somewhere(self, name: str) -> bool:
        if (name[0].isdigit() and name.replace(".", "").isdigit()) or ":" in name:
            return True  # an address itself
        for kind in ("A", "AAAA"):
            if (await self._resolver.answer(Dns(kind, name))).names:
                return True
        return False

    async def renew(self) -> str:
        """`kerwen certificate --renew`: looks at once; what is known is forgotten."""
        await self._resolver.close()
        self._resolver = Resolver.of(self._config)
        self.keeper.hurry()
        return "the server looks now"

    def _account(self, key: AccountKey) -> Acme:
        from kerwen.net.acme.client import Acme, Eab

        config = self._config
        eab = None
        if config.acme_eab_id is not None and config.acme_eab_key is not None:
            eab = Eab(config.acme_eab_id, config.acme_eab_key)
        return Acme(
            self._outgoing,
            self.directory,
            key,
            self.answers,
            kind=config.acme_challenge,
            contact=tuple(config.acme_contact),
            eab=eab,
        )

    def _changed(self, cert: object, key: object) -> None:
        if self.served is not None:
            self.served.replace(self.keeper.files.cert, self.keeper.files.key)
