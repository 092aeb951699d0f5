"""/_matrix/client/v3/pushrules and /_matrix/client/v3/pushers."""

# CS #push-notifications

from __future__ import annotations

from typing import Any

from kerwen.accounts.actions.push_rules import EditPushRules
from kerwen.accounts.actions.pushers import Pushers
from kerwen.api.http import Cost, Request, Route
from kerwen.base.errors import Reason, Refused
from kerwen.rooms import push_ruleset

_V3 = "/_matrix/client/v3"
_RULE = _V3 + "/pushrules/global/{kind}/{ruleId}"


class PushRulesApi:
    """Push rules and pushers."""

    def __init__(self, rules: EditPushRules, pushers: Pushers) -> None:
        self._rules = rules
        self._pushers = pushers

    def routes(self) -> list[Route]:
        """Its part of the table."""
        spec, write = "CS #push-rules-api", Cost.WRITE
        found = [
            Route("GET", _RULE, self.one, spec=spec),
            Route("PUT", _RULE, self.put, cost=write, spec=spec),
            Route("DELETE", _RULE, self.delete, cost=write, spec=spec),
            Route("GET", _RULE + "/enabled", self.enabled, spec=spec),
            Route("PUT", _RULE + "/enabled", self.set_enabled, cost=write, spec=spec),
            Route("GET", _RULE + "/actions", self.actions, spec=spec),
            Route("PUT", _RULE + "/actions", self.set_actions, cost=write, spec=spec),
            Route("GET", _V3 + "/pushers", self.pushers, spec="CS #push-notifications"),
            Route(
                "POST",
                _V3 + "/pushers/set",
                self.set_pusher,
                cost=write,
                spec="CS #push-notifications",
            ),
        ]
        for end in ("", "/"):  # the specification writes the slash, not every client does
            found.append(Route("GET", _V3 + "/pushrules" + end, self.sets, spec=spec))
            found.append(Route("GET", _V3 + "/pushrules/global" + end, self.all, spec=spec))
        return found

    async def sets(self, request: Request) -> dict[str, Any]:
        """GET /pushrules/"""
        return {"global": await self._rules.all(request.caller.account_no)}

    async def all(self, request: Request) -> dict[str, Any]:
        """GET /pushrules/global/"""
        return await self._rules.all(request.caller.account_no)

    async def one(self, request: Request) -> dict[str, Any]:
        """GET /pushrules/global/{kind}/{ruleId}"""
        return await self._rules.one(*_named(request))

    async def put(self, request: Request) -> bytes:
        """PUT /pushrules/global/{kind}/{ruleId}?before=&after="""
        account_no, kind, rule_id = _named(request)
        rule = push_ruleset.parse_rule(kind, rule_id, request.object())
        before, after = request.query("before"), request.query("after")
        await self._rules.put(account_no, kind, rule, before, after)
        return b"{}"

    async def delete(self, request: Request) -> bytes:
        """DELETE /pushrules/global/{kind}/{ruleId}"""
        await self._rules.delete(*_named(request))
        return b"{}"

    async def enabled(self, request: Request) -> dict[str, bool]:
        """GET /pushrules/global/{kind}/{ruleId}/enabled"""
        return {"enabled": (await self._rules.one(*_named(request))).get("enabled", True)}

    async def set_enabled(self, request: Request) -> bytes:
        """PUT /pushrules/global/{kind}/{ruleId}/enabled"""
        enabled = request.object().get("enabled")
        if enabled is None:
            raise Refused(Reason.MISSING_PARAM, "Missing parameters: enabled")
        if not isinstance(enabled, bool):
            raise Refused(Reason.BAD_JSON, "enabled must be true or false")
        await self._rules.set_enabled(*_named(request), enabled)
        return b"{}"

    async def actions(self, request: Request) -> dict[str, list[Any]]:
        """GET /pushrules/global/{kind}/{ruleId}/actions"""
        return {"actions": (await self._rules.one(*_named(request)))["actions"]}

    async def set_actions(self, request: Request) -> bytes:
        """PUT /pushrules/global/{kind}/{ruleId}/actions"""
        actions = push_ruleset.parse_actions(request.object().get("actions"))
        await self._rules.set_actions(*_named(request), actions)
        return b"{}"

    async def pushers(self, request: Request) -> dict[str, Any]:
        """GET /pushers"""
        return {"pushers": await self._pushers.all(request.caller.account_no)}

    async def set_pusher(self, request: Request) -> bytes:
        """POST /pushers/set"""
        caller = request.caller
        await self._pushers.set(caller.account_no, caller.device_no, request.object())
        return b"{}"


def _named(request: Request) -> tuple[int, str, str]:
    return request.caller.account_no, request.params["kind"], request.params["ruleId"]
