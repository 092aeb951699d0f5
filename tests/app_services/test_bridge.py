"""A real bridge (mautrix-python) on a real server, also across a kill -9 of either."""

# ruff: noqa: ASYNC110  (tests may poll)

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from tests.app_services.bridge import TeaBridge, until
from tests.app_services.service import registration, write
from tests.conftest import FreshServer
from tests.push.test_process import Person


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_bridge_lives_here(fresh_server: FreshServer, tmp_path: Path) -> None:
    port = free_port()
    data = registration(f"http://127.0.0.1:{port}")
    file = write(tmp_path, "irc.yaml", data)
    server = await asyncio.to_thread(fresh_server, "--cheap-passwords", "--app-service", file)
    bridge = TeaBridge(server.url, server.domain, data, tmp_path)
    await bridge.start(port)
    try:
        ayna = await asyncio.to_thread(Person, server, "ayna")
        assert await bridge.service.ping_self("meow") >= 0

        # a room of the network, made when somebody joins it by its name
        alias = f"%23_irc_green:{server.domain}"
        room = (await ayna.do("POST", f"join/{alias}", {}))["room_id"]
        assert room == bridge.portals["green"]

        # from Matrix to the network, and back under the guest's own name and time
        await _say(ayna, room, "salam", 1)
        await until(lambda: len(bridge.network) == 1, "the message")
        assert bridge.network == [(room, ayna.id, "salam")]
        event_id = await bridge.hear("green", "gul", "waleykim")
        event = await ayna.do("GET", f"rooms/{room}/event/{event_id}")
        assert event["sender"] == f"@_irc_gul:{server.domain}"
        assert event["content"]["body"] == "waleykim"
        assert event["origin_server_ts"] == 1_700_000_000_000

        # a guest who is asked in exists from then on, and comes
        chat = (await ayna.do("POST", "createRoom", {"preset": "trusted_private_chat"}))["room_id"]
        ghost = f"@_irc_nar:{server.domain}"
        await ayna.do("POST", f"rooms/{chat}/invite", {"user_id": ghost})
        members = f"rooms/{chat}/joined_members"
        await _until_joined(ayna, members, ghost)

        # receipts and typing
        await ayna.do("POST", f"rooms/{room}/receipt/m.read/{event_id}", {})
        await ayna.do("PUT", f"rooms/{room}/typing/{ayna.id}", {"typing": True, "timeout": 9_000})
        await until(lambda: {"m.receipt", "m.typing"} <= set(bridge.ephemeral), "the receipt")

        # the server dies while the bridge is away: nothing is lost, nothing comes twice
        await bridge.stop()
        for n in range(2, 8):
            await _say(ayna, room, f"{n}", n)
        server.kill9()
        await asyncio.to_thread(server.start)
        await _say(ayna, room, "8", 8)
        bridge = _again(bridge, server.url, server.domain, tmp_path)
        await bridge.start(port)
        await until(lambda: len(bridge.network) >= 7, "what was said meanwhile")
        assert [text for _, _, text in bridge.network] == [str(n) for n in range(2, 9)]
    finally:
        await bridge.stop()


def _again(old: TeaBridge, url: str, domain: str, folder: Path) -> TeaBridge:
    """The bridge after a restart of its own: it knows its portals, and no transaction."""
    service = old.service
    data = registration("") | {"as_token": service.as_token, "hs_token": service.hs_token}
    made = TeaBridge(url, domain, data, folder)
    made.portals = old.portals
    return made


async def _say(person: Person, room: str, text: str, n: int) -> None:
    body = {"msgtype": "m.text", "body": text}
    await person.do("PUT", f"rooms/{room}/send/m.room.message/t{n}", body)


async def _until_joined(person: Person, path: str, user_id: str) -> None:
    async with asyncio.timeout(30):
        while user_id not in (await person.do("GET", path))["joined"]:
            await asyncio.sleep(0.05)


async def test_keys_and_messages_for_devices_reach_the_bridge(
    fresh_server: FreshServer, tmp_path: Path
) -> None:
    port = free_port()
    data = registration(f"http://127.0.0.1:{port}")
    file = write(tmp_path, "irc.yaml", data)
    server = await asyncio.to_thread(fresh_server, "--cheap-passwords", "--app-service", file)
    bridge = TeaBridge(server.url, server.domain, data, tmp_path)
    await bridge.start(port)
    try:
        ayna = await asyncio.to_thread(Person, server, "ayna")
        bot = bridge.service.bot_mxid
        api = bridge.service.intent.api
        await api.request("PUT", _path("devices/BRIDGE"), {"display_name": "Bridge"})
        body = {"messages": {bot: {"BRIDGE": {"n": 1}}}}
        await ayna.do("PUT", "sendToDevice/m.test/1", body)
        await until(lambda: bridge.to_device, "the message")
        (event,) = bridge.to_device
        assert (event.sender, event.to_user_id, event.to_device_id) == (ayna.id, bot, "BRIDGE")
        await until(lambda: bridge.key_counts, "the counts of keys")
        assert bridge.key_counts[0][bot]["BRIDGE"].signed_curve25519 == 0
    finally:
        await bridge.stop()


def _path(text: str) -> str:
    return f"_matrix/client/v3/{text}"
