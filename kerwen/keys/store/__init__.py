"""The tables of keys. What other subjects and the sync builder call stands here by name."""

from kerwen.keys.store.cross_signing import is_cross_signing_key, signature_changes
from kerwen.keys.store.device_keys import (
    device_list_changes,
    device_list_positions,
    mark_device_list,
)
from kerwen.keys.store.messages import (
    add_to_device,
    delete_to_device,
    more_to_device,
    to_device,
)
from kerwen.keys.store.one_time_keys import one_time_key_counts, unused_fallback_types
from kerwen.keys.store.removal import forget_account, on_device_removed, on_device_renamed

__all__ = [
    "add_to_device",
    "delete_to_device",
    "device_list_changes",
    "device_list_positions",
    "forget_account",
    "is_cross_signing_key",
    "mark_device_list",
    "more_to_device",
    "on_device_removed",
    "on_device_renamed",
    "one_time_key_counts",
    "signature_changes",
    "to_device",
    "unused_fallback_types",
]
