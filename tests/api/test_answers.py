"""Every operation that can be driven simply answers in the shape that is specified."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

from PIL import Image

from tests.api.checked import Checked
from tests.api.operations import BY_ID, REFUSED, UNBUILT
from tests.keys.house import Person as Keys
from tests.rooms.house import House, Json, Person

PASSWORD = "a-password"
_NOT_DRIVEN = {
    # URL previews are off: the server asks nobody on the web
    "getUrlPreview",
    "getUrlPreviewAuthed",
    # asked, and refused: new media are not to be had without a token (CS #content-repository)
    "getContent",
    "getContentOverrideName",
    "getContentThumbnail",
    # asked, and refused: nobody is named in the configuration
    "getWellknownSupport",
}


def proof(who: Person, password: str = PASSWORD) -> Json:
    """Authentication for what asks for the password again."""
    return {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": who.id},
        "password": password,
    }


async def server(c: Checked, ayna: Person) -> None:
    await c.do(None, "getVersions")
    await c.do(ayna, "getCapabilities")
    await c.do(None, "getAuthMetadata")
    await c.do(None, "getWellknown")
    await c.do(None, "getWellknownSupport", status=404)
    await c.do(ayna, "getTurnServer", status=200)
    await c.do(ayna, "getProtocols")


async def accounts(c: Checked, ayna: Person) -> None:
    await c.do(None, "checkUsernameAvailability", query={"username": "maral"})
    await c.do(None, "checkUsernameAvailability", query={"username": "ayna"}, status=400)
    auth = {"type": "m.login.dummy"}
    made = await c.do(
        None,
        "register",
        {"username": "maral", "password": PASSWORD, "auth": auth, "refresh_token": True},
    )
    await c.do(None, "register", {"username": "maral2", "password": PASSWORD}, status=401)
    await c.do(None, "registrationTokenValidity", query={"token": "nobody"})
    maral = Person(c.house, made["user_id"], made["device_id"], made["access_token"])
    await c.do(None, "getLoginFlows")
    second = await c.do(None, "login", proof(maral) | {"refresh_token": True})
    await c.do(None, "login", proof(maral, "wrong"), status=403)
    await c.do(None, "refresh", {"refresh_token": second["refresh_token"]})
    await c.do(maral, "getTokenOwner")
    await c.do(None, "getTokenOwner", status=401)
    await c.do(maral, "generateLoginToken", status=401)
    await c.do(maral, "generateLoginToken", {"auth": proof(maral)})
    await c.do(maral, "getAccount3PIDs")
    contact = {"medium": "email", "address": "a@b.test"}
    await c.do(maral, "delete3pidFromAccount", contact)
    await c.do(maral, "unbind3pidFromAccount", contact)
    await c.do(maral, "getWhoIs", userId=maral.id)
    await c.do(maral, "requestOpenIdToken", userId=maral.id)
    await c.do(maral, "changePassword", {"new_password": PASSWORD + "2"}, status=401)
    await c.do(
        maral,
        "changePassword",
        {"new_password": PASSWORD + "2", "logout_devices": False, "auth": proof(maral)},
    )
    await c.do(maral, "logout")
    third = await c.do(None, "login", proof(maral, PASSWORD + "2"))
    maral.token = third["access_token"]
    await c.do(maral, "logout_all")
    maral.token = (await c.do(None, "login", proof(maral, PASSWORD + "2")))["access_token"]
    await c.do(maral, "deactivateAccount", status=401)
    await c.do(maral, "deactivateAccount", {"auth": proof(maral, PASSWORD + "2")})


async def administration(c: Checked, ayna: Person, batyr: Person) -> None:
    await c.house.messenger.accounts.moderate.set_admin(batyr.id, True)
    await c.do(ayna, "setAdminLockUser", {"locked": True}, userId=batyr.id, status=403)
    await c.do(batyr, "setAdminLockUser", {"locked": True}, userId=ayna.id)
    await c.do(ayna, "getTokenOwner", status=401)
    await c.do(batyr, "getAdminLockUser", userId=ayna.id)
    await c.do(batyr, "setAdminLockUser", {"locked": False}, userId=ayna.id)
    await c.do(batyr, "setAdminSuspendUser", {"suspended": True}, userId=ayna.id)
    await c.do(batyr, "getAdminSuspendUser", userId=ayna.id)
    await c.do(batyr, "setAdminSuspendUser", {"suspended": False}, userId=ayna.id)
    await c.do(batyr, "getAdminLockUser", userId="@nobody:kerwen.test", status=404)


async def devices(c: Checked, ayna: Person) -> None:
    more = [await ayna.log_in() for _ in range(2)]
    await c.do(ayna, "getDevices")
    await c.do(ayna, "getDevice", deviceId=ayna.device_id)
    await c.do(ayna, "getDevice", deviceId="NONE", status=404)
    await c.do(ayna, "updateDevice", {"display_name": "Telefon"}, deviceId=ayna.device_id)
    await c.do(ayna, "deleteDevice", deviceId=more[0].device_id, status=401)
    await c.do(ayna, "deleteDevice", {"auth": proof(ayna)}, deviceId=more[0].device_id)
    await c.do(ayna, "deleteDevices", {"devices": [more[1].device_id], "auth": proof(ayna)})


async def account_data(c: Checked, ayna: Person, room: str) -> None:
    mine: dict[str, str] = {"userId": ayna.id}
    await c.do(ayna, "setAccountData", {"a": 1}, type="x.y", **mine)
    await c.do(ayna, "getAccountData", type="x.y", **mine)
    await c.do(ayna, "getAccountData", type="x.z", status=404, **mine)
    await c.do(ayna, "setAccountDataPerRoom", {"a": 1}, roomId=room, type="x.y", **mine)
    await c.do(ayna, "getAccountDataPerRoom", roomId=room, type="x.y", **mine)
    await c.do(ayna, "setRoomTag", {"order": 0.5}, roomId=room, tag="u.work", **mine)
    await c.do(ayna, "getRoomTags", roomId=room, **mine)
    await c.do(ayna, "deleteRoomTag", roomId=room, tag="u.work", **mine)
    found = await c.do(ayna, "defineFilter", {"room": {"timeline": {"limit": 3}}}, **mine)
    await c.do(ayna, "getFilter", filterId=found["filter_id"], **mine)
    await c.do(ayna, "setProfileField", {"displayname": "Aýna"}, keyName="displayname", **mine)
    await c.do(ayna, "getProfileField", keyName="displayname", **mine)
    await c.do(ayna, "getUserProfile", **mine)
    await c.do(ayna, "getUserProfile", userId="@nobody:kerwen.test", status=404)
    await c.do(ayna, "deleteProfileField", keyName="displayname", **mine)
    await c.do(ayna, "searchUserDirectory", {"search_term": "bat"})
    await c.do(ayna, "setPresence", {"presence": "online", "status_msg": "Salam"}, **mine)
    await c.do(ayna, "getPresence", **mine)


async def push(c: Checked, ayna: Person) -> None:
    await c.do(ayna, "getPushRules")
    await c.do(ayna, "getPushRulesGlobal")
    rule: dict[str, str] = {"kind": "content", "ruleId": "salam"}
    await c.do(ayna, "setPushRule", {"pattern": "salam", "actions": ["notify"]}, **rule)
    await c.do(ayna, "getPushRule", **rule)
    await c.do(ayna, "setPushRuleEnabled", {"enabled": False}, **rule)
    await c.do(ayna, "isPushRuleEnabled", **rule)
    await c.do(ayna, "setPushRuleActions", {"actions": []}, **rule)
    await c.do(ayna, "getPushRuleActions", **rule)
    await c.do(ayna, "deletePushRule", **rule)
    await c.do(ayna, "getPushRule", status=404, **rule)
    pusher = {
        "app_display_name": "Kerwen",
        "app_id": "test",
        "data": {"url": "https://push.test/_matrix/push/v1/notify"},
        "device_display_name": "Telefon",
        "kind": "http",
        "lang": "tk",
        "pushkey": "key",
    }
    await c.do(ayna, "postPusher", pusher)
    await c.do(ayna, "getPushers")


async def rooms(c: Checked, ayna: Person, batyr: Person, merdan: Person) -> str:
    room = await c.do(ayna, "createRoom", {"preset": "public_chat", "name": "Bazar"})
    here: dict[str, str] = {"roomId": room["room_id"]}
    await c.do(ayna, "createRoom", {"room_version": "0"}, status=400)
    await c.do(ayna, "inviteUser", {"user_id": batyr.id}, **here)
    await c.do(batyr, "joinRoomById", **here)
    await c.do(batyr, "leaveRoom", **here)
    await c.do(batyr, "joinRoom", roomIdOrAlias=here["roomId"])
    await c.do(merdan, "joinRoomById", **here)
    for deed in ("kick", "ban", "unban"):
        await c.do(ayna, deed, {"user_id": merdan.id}, **here)
    await c.do(merdan, "kick", {"user_id": ayna.id}, status=403, **here)
    await c.do(merdan, "forgetRoom", **here)
    await c.do(ayna, "getJoinedRooms")
    key = {"eventType": "m.room.topic", "stateKey": ""}
    await c.do(ayna, "setRoomStateWithKey", {"topic": "Gawun"}, **key, **here)
    await c.do(ayna, "getRoomStateWithKey", **key, **here)
    await c.do(ayna, "getRoomState", **here)
    await c.do(merdan, "getRoomState", status=403, **here)
    await c.do(ayna, "getMembersByRoom", **here)
    await c.do(ayna, "getJoinedMembersByRoom", **here)
    knocked = await ayna.create_room(initial_state=[_knock()])
    await c.do(merdan, "knockRoom", roomIdOrAlias=knocked)
    return here["roomId"]


def _knock() -> Json:
    return {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}


async def messages(c: Checked, ayna: Person, batyr: Person, room: str) -> None:
    here: dict[str, str] = {"roomId": room}
    said = []
    for text in ("Salam", "Gawun bar", "Alma bar"):
        body = {"msgtype": "m.text", "body": text}
        sent = await c.do(ayna, "sendMessage", body, eventType="m.room.message", **here)
        said.append(sent["event_id"])
    await c.do(ayna, "redactEvent", {"reason": "x"}, eventId=said[0], **here)
    await c.do(batyr, "getRoomEvents", query={"dir": "b"}, **here)
    await c.do(batyr, "getOneRoomEvent", eventId=said[1], **here)
    await c.do(batyr, "getOneRoomEvent", eventId=said[0], **here)
    await c.do(batyr, "getOneRoomEvent", eventId="$none", status=404, **here)
    await c.do(batyr, "getEventContext", eventId=said[1], **here)
    await c.do(batyr, "getEventByTimestamp", query={"ts": 0, "dir": "f"}, **here)
    await c.do(batyr, "postReceipt", receiptType="m.read", eventId=said[2], **here)
    await c.do(batyr, "setReadMarker", {"m.fully_read": said[2]}, **here)
    await c.do(batyr, "setTyping", {"typing": True, "timeout": 3000}, userId=batyr.id, **here)
    first = await c.do(batyr, "sync", query={"timeout": 0})
    wanted = {"filter": json.dumps({"room": {"state": {"lazy_load_members": True}}})}
    await c.do(ayna, "sync", query=wanted | {"full_state": "true", "use_state_after": "true"})
    await ayna.say(room, "Ýene salam")
    await c.do(batyr, "sync", query={"timeout": 0, "since": first["next_batch"]})


async def directory(c: Checked, ayna: Person, batyr: Person, room: str) -> None:
    here: dict[str, str] = {"roomId": room}
    alias = "#bazar:kerwen.test"
    await c.do(ayna, "setRoomAlias", {"room_id": room}, roomAlias=alias)
    await c.do(None, "getRoomIdByAlias", roomAlias=alias)
    await c.do(None, "getRoomIdByAlias", roomAlias="#none:kerwen.test", status=404)
    await c.do(ayna, "getLocalAliases", **here)
    await c.do(ayna, "setRoomVisibilityOnDirectory", {"visibility": "public"}, **here)
    await c.do(None, "getRoomVisibilityOnDirectory", **here)
    await c.do(None, "getPublicRooms")
    wish = {"filter": {"generic_search_term": "baz"}, "limit": 5}
    await c.do(batyr, "queryPublicRooms", wish)
    await c.do(batyr, "getRoomSummary", roomIdOrAlias=alias)
    await c.do(batyr, "getRoomSummary", roomIdOrAlias="!none:kerwen.test", status=404)
    await c.do(ayna, "deleteRoomAlias", roomAlias=alias)
    await c.do(batyr, "getMutualRooms", query={"user_id": ayna.id})
    await c.do(batyr, "reportRoom", {"reason": "x"}, **here)
    await c.do(batyr, "reportUser", {"reason": "x"}, userId=ayna.id)
    space = await ayna.create_room(creation_content={"type": "m.space"})
    await ayna.set_state(space, "m.space.child", {"via": ["kerwen.test"]}, room)
    await c.do(ayna, "getSpaceHierarchy", roomId=space)


async def relations(c: Checked, ayna: Person, batyr: Person, room: str) -> None:
    here: dict[str, str] = {"roomId": room}
    root = await ayna.say(room, "Kim gelýär?")
    for kind, body in (("m.thread", "Men"), ("m.replace", "Kim bar?")):
        who = batyr if kind == "m.thread" else ayna
        new = {"m.new_content": {"body": body}} if kind == "m.replace" else {}
        await who.say(room, body, **{"m.relates_to": {"rel_type": kind, "event_id": root}}, **new)
    await c.do(ayna, "getRelatingEvents", eventId=root, **here)
    one: dict[str, str] = {"eventId": root, "relType": "m.thread"}
    await c.do(ayna, "getRelatingEventsWithRelType", **one, **here)
    many: dict[str, str] = {**one, "eventType": "m.room.message"}
    await c.do(ayna, "getRelatingEventsWithRelTypeAndEventType", **many, **here)
    await c.do(ayna, "getThreadRoots", **here)
    await c.do(batyr, "reportEvent", {"reason": "x"}, eventId=root, **here)
    await c.do(ayna, "getNotifications")
    criteria = {
        "search_term": "kim",
        "event_context": {"include_profile": True},
        "include_state": True,
        "groupings": {"group_by": [{"key": "room_id"}, {"key": "sender"}]},
    }
    await c.do(ayna, "search", {"search_categories": {"room_events": criteria}})
    await c.do(ayna, "sync", query={"timeout": 0, "full_state": "true"})


async def old_ways(c: Checked, ayna: Person, room: str) -> None:
    event_id = await ayna.say(room, "köne")
    await c.do(ayna, "initialSync")
    await c.do(ayna, "roomInitialSync", roomId=room)
    await c.do(ayna, "getOneEvent", eventId=event_id)
    await c.do(ayna, "getEvents", query={"timeout": 0})
    await c.do(ayna, "peekEvents", query={"timeout": 0, "room_id": room})
    await c.do(ayna, "upgradeRoom", {"new_version": "12"}, roomId=room)
    await c.do(ayna, "upgradeRoom", {"new_version": "0"}, roomId=room, status=400)


async def keys(c: Checked, ayna: Person, batyr: Person) -> None:
    hers = Keys("ayna", ayna.device_id)
    hers.user_id = ayna.id
    one_time = hers.one_time_keys(3)
    body: dict[str, Any] = {"device_keys": hers.device_keys(), "one_time_keys": one_time}
    await c.do(ayna, "uploadKeys", body)
    crossed = hers.cross_signing_keys()
    await c.do(ayna, "uploadCrossSigningKeys", crossed)
    signed = hers.sign_with("self_signing", hers.device_keys())
    await c.do(ayna, "uploadCrossSigningSignatures", {ayna.id: {ayna.device_id: signed}})
    await c.do(batyr, "queryKeys", {"device_keys": {ayna.id: []}})
    wish = {ayna.id: {ayna.device_id: "signed_curve25519"}}
    await c.do(batyr, "claimKeys", {"one_time_keys": wish})
    token = (await batyr.sync())["next_batch"]
    await c.do(batyr, "getKeysChanges", query={"from": token, "to": token})
    letters = {"messages": {ayna.id: {"*": {"a": 1}}}}
    await c.do(batyr, "sendToDevice", letters, eventType="x.y")
    await c.do(ayna, "sync", query={"timeout": 0})


async def backup(c: Checked, ayna: Person) -> None:
    kind = {
        "algorithm": "m.megolm_backup.v1.curve25519-aes-sha2",
        "auth_data": {"public_key": "c" * 43, "signatures": {}},
    }
    await c.do(ayna, "getRoomKeysVersionCurrent", status=404)
    version = (await c.do(ayna, "postRoomKeysVersion", kind))["version"]
    await c.do(ayna, "getRoomKeysVersionCurrent")
    await c.do(ayna, "getRoomKeysVersion", version=version)
    await c.do(ayna, "putRoomKeysVersion", kind | {"version": version}, version=version)
    data = {
        "first_message_index": 1,
        "forwarded_count": 0,
        "is_verified": True,
        "session_data": {"ciphertext": "a", "ephemeral": "b", "mac": "c"},
    }
    now: Json = {"query": {"version": version}}
    one: dict[str, str] = {"roomId": "!a:kerwen.test", "sessionId": "s"}
    room: dict[str, str] = {"roomId": "!a:kerwen.test"}
    whole = {"rooms": {"!a:kerwen.test": {"sessions": {"s": data}}}}
    await c.do(ayna, "putRoomKeyBySessionId", data, **one, **now)
    await c.do(ayna, "getRoomKeyBySessionId", **one, **now)
    await c.do(ayna, "putRoomKeysByRoomId", {"sessions": {"s": data}}, **room, **now)
    await c.do(ayna, "getRoomKeysByRoomId", **room, **now)
    await c.do(ayna, "putRoomKeys", whole, **now)
    await c.do(ayna, "getRoomKeys", **now)
    wrong: Json = {"query": {"version": "999"}}
    await c.do(ayna, "putRoomKeys", whole, status=403, **wrong)
    await c.do(ayna, "deleteRoomKeyBySessionId", **one, **now)
    await c.do(ayna, "getRoomKeyBySessionId", status=404, **one, **now)
    await c.do(ayna, "deleteRoomKeysByRoomId", **room, **now)
    await c.do(ayna, "deleteRoomKeys", **now)
    await c.do(ayna, "deleteRoomKeysVersion", version=version)


def picture() -> bytes:
    """A small PNG."""
    out = BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(out, "PNG")
    return out.getvalue()


async def media(c: Checked, ayna: Person) -> None:
    uri = (await c.do(ayna, "uploadContent", picture()))["content_uri"]
    server_name, media_id = uri.removeprefix("mxc://").split("/")
    name: dict[str, str] = {"serverName": server_name, "mediaId": media_id}
    await c.do(ayna, "getContentAuthed", **name)
    await c.do(ayna, "getContentOverrideNameAuthed", fileName="a.png", **name)
    size = {"width": 32, "height": 32}
    await c.do(ayna, "getContentThumbnailAuthed", query=size, **name)
    await c.do(ayna, "getContentAuthed", serverName=server_name, mediaId="none", status=404)
    await c.do(ayna, "getConfigAuthed")
    await c.do(ayna, "getConfig")
    made = await c.do(ayna, "createContent")
    other = made["content_uri"].removeprefix("mxc://").split("/")
    await c.do(ayna, "uploadContentToMXC", picture(), serverName=other[0], mediaId=other[1])
    for old in ("getContent", "getContentOverrideName", "getContentThumbnail"):
        more: dict[str, str] = {"fileName": "a.png"} if "Name" in old else {}
        await c.do(None, old, status=404, query=size, **name, **more)  # frozen: no new media


async def test_every_answer_has_its_shape(house: House) -> None:
    c = Checked(house)
    ayna, batyr, merdan = await house.people("ayna", "batyr", "merdan")
    await server(c, ayna)
    await accounts(c, ayna)
    await administration(c, ayna, batyr)
    await devices(c, ayna)
    room = await rooms(c, ayna, batyr, merdan)
    await account_data(c, ayna, room)
    await push(c, ayna)
    await messages(c, ayna, batyr, room)
    await directory(c, ayna, batyr, room)
    await relations(c, ayna, batyr, room)
    await old_ways(c, ayna, room)
    await keys(c, ayna, batyr)
    await backup(c, ayna)
    await media(c, ayna)
    left = set(BY_ID) - c.driven - set(REFUSED) - UNBUILT - _NOT_DRIVEN
    assert left == set()
