"""People with pushers in a house whose workers are driven step by step."""

from __future__ import annotations

from typing import Any

from tests.rooms.house import House, Person

Json = dict[str, Any]


def pusher(url: str, pushkey: str = "key", **data: Any) -> Json:
    """The body that sets a pusher."""
    return {
        "app_id": "test.app",
        "app_display_name": "App",
        "device_display_name": "Phone",
        "kind": "http",
        "lang": "en",
        "pushkey": pushkey,
        "data": {"url": url, "format": "event_id_only", **data},
    }


async def set_pusher(person: Person, url: str, pushkey: str = "key", **data: Any) -> None:
    await person.must("POST", "pushers", "set", body=pusher(url, pushkey, **data))


async def pushers(person: Person) -> list[str]:
    """The pushkeys that a person has."""
    found = await person.must("GET", "pushers")
    return [p["pushkey"] for p in found["pushers"]]


async def follow(house: House) -> None:
    """The follower looks at everything that is settled."""
    follower = house.messenger.push.follower
    if not follower._held:

        async def zero() -> int:
            return 0

        await follower._ensure(zero)
    while await follower.step():
        pass


async def push(house: House) -> int:
    """Everything that is due is sent; how many pushers had a turn."""
    await follow(house)
    turns = 0
    while (count := await house.messenger.push.sender.step()) > 0:
        turns += count
    return turns
