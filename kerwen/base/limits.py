"""Every limit of the house, in one place. Sizes in bytes, times in milliseconds."""

from __future__ import annotations

KIB = 1024
MIB = 1024 * KIB

# HTTP
HTTP_BODY_MAX = 1 * MIB  # JSON requests; routes that take more say so
HTTP_URL_MAX = 32 * KIB
HTTP_HEADERS_MAX = 64 * KIB
HTTP_CONNECTIONS_MAX = 20_000
JSON_DEPTH_MAX = 64

# events (CS #size-limits)
EVENT_BYTES_MAX = 65_536
EVENT_ID_FIELD_MAX = 255

# writing
WRITE_QUEUE_MAX = 10_000  # transactions that wait for their turn
WRITE_GROUP_MAX = 256  # transactions that share one commit
TAIL_STATEMENTS_MAX = 4_096  # statements that run at the end of a transaction

# accounts
LOCALPART_MAX = 64
PASSWORD_MIN = 8
PASSWORD_MAX = 1024
DEVICES_MAX = 200  # per account
DEVICE_ID_MAX = 255
DEVICE_NAME_MAX = 100
ARGON2_AT_ONCE = 2
ACCOUNT_DATA_MAX = 512 * KIB

# sync
SYNC_TIMEOUT_MAX_MS = 60_000
TIMELINE_LIMIT_DEFAULT = 10
TIMELINE_LIMIT_MAX = 1_000
MESSAGES_LIMIT_MAX = 1_000
TO_DEVICE_AT_ONCE = 100

# keys
ONE_TIME_KEYS_MAX = 1_000  # per device and upload
TO_DEVICE_TARGETS_MAX = 10_000  # per request
TO_DEVICE_PENDING_MAX = 50_000  # per device

# media
UPLOAD_BYTES_MAX = 100 * MIB
IMAGE_PIXELS_MAX = 50_000_000
