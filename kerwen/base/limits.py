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
WEBSOCKET_MESSAGE_MAX = 1 * MIB
WEBSOCKET_AHEAD_MAX = 1 * MIB  # of one connection, each way, that its reader has not taken

# events (CS #size-limits)
EVENT_BYTES_MAX = 65_536
EVENT_ID_FIELD_MAX = 255

# writing
WRITE_QUEUE_MAX = 10_000  # transactions that wait for their turn
WRITE_GROUP_MAX = 256  # transactions that share one commit
TAIL_STATEMENTS_MAX = 4_096  # statements that run at the end of a transaction
TAIL_BYTES_MAX = 16 * MIB  # their text on PostgreSQL
LOCK_WAIT_MAX_MS = 2_000  # for a lock of the database
FEED_AHEAD_MAX = 65_536  # positions kept above a hole
SETTLE_WAIT_MAX_MS = 5_000  # for a token that is ahead of this worker
WAL_KEPT_MAX = 64 * MIB  # SQLite's log is cut back to this once it was copied
READ_SNAPSHOTS_MAX = 256  # open at a time on SQLite
LONG_READ_MAX_MS = 60_000  # one statement on a reader thread
READ_LINKS_MAX = 12  # connections of one worker to PostgreSQL
WRITE_LINKS_MAX = 12

# accounts
LOCALPART_MAX = 64
PASSWORD_MIN = 8
PASSWORD_MAX = 1024
DEVICES_MAX = 200  # per account
DEVICE_ID_MAX = 255
DEVICE_NAME_MAX = 100
ARGON2_AT_ONCE = 2
ARGON2_QUEUE_MAX = 1_000  # password checks that wait for a thread
APP_PASSWORDS_MAX = 50  # per account
PASSWORDS_PROVEN_MAX = 20_000  # whose keys are in memory for programs that log in again
SECOND_FACTORS_MAX = 20  # per account
ENROLMENTS_MAX = 2_000  # second factors that wait for their first code or answer
TOKEN_CACHE_MAX = 200_000  # access tokens whose owners are held in memory
REFRESHES_MAX = 8  # unused answers to one refresh token (lost replies, racing processes)
ACCOUNT_DATA_MAX = 512 * KIB
BROWSERS_MAX = 20  # signed in to an account's pages at a time; the oldest go

# OAuth
OAUTH_FIELD_MAX = 2_000  # characters of one parameter or one text of a client's metadata
OAUTH_LIST_MAX = 20  # redirect URIs of a client
OAUTH_BODY_MAX = 32 * KIB
OAUTH_CODES_MAX = 20  # not yet exchanged, per account; the oldest go
RENDEZVOUS_MAX = 2_000  # meetings of two devices at a time; the oldest go
RENDEZVOUS_BYTES_MAX = 4 * KIB  # MSC4108

# sync
SYNC_TIMEOUT_MAX_MS = 60_000
TIMELINE_LIMIT_DEFAULT = 10
TIMELINE_LIMIT_MAX = 1_000
MESSAGES_LIMIT_MAX = 1_000
TO_DEVICE_AT_ONCE = 100

# sliding sync
THREADS_FOLLOWED_MAX = 20_000  # of one account, those that it left included
THREADS_AT_ONCE = 100  # of changes to them, in one answer
SLIDING_BODY_MAX = 256 * KIB
SLIDING_LISTS_MAX = 100  # of one request; subscriptions too
SLIDING_NAME_MAX = 255  # characters of a list's name, a type, a state key
SLIDING_NAMES_MAX = 1_000  # of one filter or extension
SLIDING_STATE_MAX = 200  # pairs of one required_state
SLIDING_TIMELINE_MAX = 100  # events of a room in one answer
SLIDING_CONNECTIONS_MAX = 16  # per device; the oldest go
SLIDING_STATE_BYTES = 1 * MIB  # what is kept of one connection
SLIDING_MEMBERS_BYTES = 64 * KIB  # of that, what is kept in memory of members, 8 bytes each
SLIDING_LIFE_MS = 30 * 24 * 3_600_000  # a connection that nobody uses
SLIDING_KEPT = 20_000  # connections in memory
SLIDING_KEPT_BYTES = 64 * MIB
SLIDING_ROOMS_KEPT = 20_000  # rooms of which something is kept in memory
SLIDING_ROOMS_BYTES = 48 * MIB  # their state and members

# keys
ONE_TIME_KEYS_MAX = 1_000  # per device and upload
TO_DEVICE_TARGETS_MAX = 10_000  # per request
TO_DEVICE_PENDING_MAX = 50_000  # per device
TO_DEVICE_BYTES_MAX = 64 * KIB  # one message
TO_DEVICE_REQUEST_MAX = 32 * MIB  # what one request may store, all copies together
TO_DEVICE_TXN_LIFE_MS = 24 * 3_600_000  # how long a client may repeat a transaction
DEHYDRATED_DATA_MAX = 64 * KIB  # a thousand one-time keys are 43 KiB
DEVICE_KEYS_MAX = 32 * KIB  # room for post-quantum keys
ONE_TIME_KEY_MAX = 8 * KIB
CROSS_SIGNING_KEY_MAX = 16 * KIB
KEY_NAME_MAX = 255  # characters of a key id, an algorithm, a session id
KEY_ALGORITHMS_MAX = 16  # of one device's one-time keys
KEY_QUERY_MAX = 10_000  # users of a query, devices of a claim
SIGNATURES_MAX = 1_000  # objects of one upload of signatures
SPENT_KEY_LIFE_MS = 30 * 24 * 3_600_000  # a repeated upload of a claimed key is known so long
KEY_CACHE_BYTES = 32 * MIB  # rendered keys of users, in memory
KEYS_DEPTH_MAX = 20  # nesting of what clients publish
BACKUP_AUTH_DATA_MAX = 64 * KIB
BACKUP_KEY_MAX = 64 * KIB
BACKUP_KEYS_MAX = 1_000_000  # per version
BACKUP_VERSIONS_MAX = 100  # per account that are not deleted
BACKUP_BODY_MAX = 16 * MIB
BACKUP_PAGE = 500  # keys read at once

# media
UPLOAD_BYTES_MAX = 100 * MIB
IMAGE_PIXELS_MAX = 50_000_000
DISK_RESERVE = 64 * MIB  # blobs leave this much of the disk to the database
FILE_NAME_MAX = 1024  # bytes of UTF-8
CONTENT_TYPE_MAX = 255
UPLOAD_PIECE_MIN = 16 * KIB  # of a file that comes in pieces; the last one may be smaller
UPLOADS_PENDING_MAX = 50  # per account: created, not yet uploaded
UPLOAD_PENDING_MS = 24 * 3_600_000
UPLOAD_WAITERS_MAX = 10_000  # requests that wait for an upload to end
UPLOAD_WAIT_MAX_MS = 60_000
DOWNLOAD_AT_ONCE = 1 * MIB  # up to this, a file is read and sent in one piece
MEDIA_QUOTA = 10 * 1024 * MIB  # bytes per account, if nothing else is set
THUMBNAIL_SOURCE_MAX = 50 * MIB
THUMBNAIL_SIDE_MAX = 4096  # pixels that may be asked for
THUMBNAIL_FRAMES_MAX = 200
THUMBNAIL_PIXELS_MAX = 100_000_000  # over all frames of an animation
THUMBNAIL_MEMORY_MAX = 1024 * MIB  # address space of the worker process
THUMBNAIL_MS_MAX = 15_000
THUMBNAIL_IDLE_MS = 60_000
THUMBNAILS_WAITING_MAX = 64
THUMBNAILS_KEPT_MAX = 24  # per image

# push
PUSHES_WAITING_MAX = 20  # events that a pusher tells of after it could not for a while
PUSH_LIFE_MS = 24 * 3_600_000  # an event older than this is not told of any more
PUSHES_AT_ONCE = 64  # requests to gateways under way
PUSH_TIMEOUT_MS = 20_000
PUSH_ANSWER_MAX = 64 * KIB
PUSH_DEVICES_MAX = 100  # of one request to our gateway
WAKE_UPS_MAX = 100  # that wait for one topic
WAKE_UP_LISTENERS_MAX = 20_000  # streams
TOPIC_UNUSED_MS = 90 * 24 * 3_600_000

# calls
CALL_PEOPLE_MAX = 32  # devices in one call
CALLS_MAX = 1_000  # at a time
CALL_TRACKS_MAX = 8  # of one participant
CALL_VIDEOS_MAX = 9  # that one participant is sent
CALL_BITRATE_MAX = 2_000_000  # of one participant's video, bits a second
CALL_SDP_MAX = 256 * KIB
CALL_MESSAGE_MAX = 320 * KIB  # of a client's signalling
CALL_MESSAGES_BURST = 300  # of one participant at once, then so many a second:
CALL_MESSAGES_RATE = 30
CALL_LEAVES_MAX = 20  # delayed leaves that one device has handed over
JANUS_MESSAGE_MAX = 4 * MIB

# DNS
DNS_CACHE_BYTES = 8 * MIB  # answers in memory
DNS_AT_ONCE = 256  # questions under way; others wait
DNS_WAITING_MAX = 10_000  # questions that wait; beyond, there is no answer
DNS_RECORDS_MAX = 256  # of one answer
DNS_KEPT_MAX_MS = 3_600_000  # however long an answer says that it is good
DNS_KEPT_MIN_MS = 5_000

# mail: what of a message is shown; its bytes are kept whole
MESSAGE_BYTES_MAX = 50 * MIB
MIME_DEPTH_MAX = 100  # deeper parts are one opaque part
MIME_PARTS_MAX = 1_000
MIME_BOUNDARY_MAX = 998
MIME_WORK_MAX = 64 * MIB  # bytes looked at by nesting, above 8 times the message
MIME_FALSE_BOUNDARIES_MAX = 10_000  # lines that only begin like a boundary, per message
HEADER_SHOWN_MAX = 256 * KIB  # of one header
FIELDS_SHOWN_MAX = 2_000
FIELDS_TAKEN_MAX = 10_000  # of the header of a message that comes in: each is an object meanwhile
FIELD_SHOWN_MAX = 64 * KIB
ADDRESSES_SHOWN_MAX = 5_000  # of one field
PARAMETERS_MAX = 100
REFERENCES_MAX = 200  # of one message, for threads
TEXT_READ_MAX = 1 * MIB  # of all text parts, for words
TEXT_PARTS_MAX = 64
WORDS_MAX = 20_000  # different ones of a message
WORD_MAX = 64  # letters
PREVIEW_MAX = 200  # characters (RFC 8970)
KEYWORDS_MAX = 64  # flags of one message that are not the system's
KEYWORD_MAX = 100  # letters of a flag
SEARCH_DEPTH_MAX = 50
SEARCH_KEYS_MAX = 1_000
RECEIVED_MAX = 100  # hops (RFC 5321 §6.3)

# IMAP
IMAP_COMMAND_MAX = 64 * KIB  # a command's text, without its literals
IMAP_LITERAL_MAX = 64 * KIB  # literals of a command that is no APPEND, together
IMAP_LITERAL_EARLY_MAX = 8 * KIB  # the same before log-in
IMAP_APPEND_MAX = 64 * MIB  # all messages of one APPEND
IMAP_APPENDS_MAX = 1_000  # messages of one APPEND
IMAP_SKIPPED_MAX = 256 * MIB  # an unwelcome literal is read past up to this size
IMAP_PIPELINE_MAX = 64  # commands that wait behind one another
IMAP_RANGES_MAX = 20_000  # of a sequence set
IMAP_ITEMS_MAX = 1_000  # of any other list
IMAP_METADATA_MAX = 64 * KIB  # one value
IMAP_ANNOTATIONS_MAX = 200  # of one mailbox
IMAP_CONNECTIONS_MAX = 50_000
IMAP_CONNECTIONS_PER_ACCOUNT = 250
IMAP_IN_MEMORY_MAX = 512 * MIB  # messages that arrive by APPEND at the same time

# mail: what is kept
MAIL_QUOTA = 1024 * MIB  # bytes per account, if nothing else is set
MAILBOXES_MAX = 1_000  # per account
MAILBOX_NAME_MAX = 255  # bytes of a whole name
MAILBOX_DEPTH_MAX = 16
KEYWORDS_KNOWN_MAX = 64  # different ones in an account
APPENDS_AT_ONCE = 1_000  # messages of one MULTIAPPEND
VANISHED_KEPT = 20_000  # deeds that removed messages, per account, that clients are told singly
VANISHED_KEPT_S = 31 * 24 * 3_600  # and all that are not older than this
VANISHED_MAX = 1_000_000  # but never more of one account
DELIVERED_KEPT_MS = 7 * 24 * 3_600_000  # how long a delivery is known, so that it is made once
ALIAS_DEPTH_MAX = 8
ALIAS_TARGETS_MAX = 1_000  # of one name, groups within groups counted

# JMAP
JMAP_REQUEST_MAX = 10 * MIB
JMAP_CALLS_MAX = 64  # of one request
JMAP_REQUESTS_AT_ONCE = 8  # of one account
JMAP_UPLOADS_AT_ONCE = 4  # of one account
JMAP_UPLOADS_IN_MEMORY_MAX = 512 * MIB  # of all accounts, while they come
JMAP_UPLOADS_MAX = 1_000  # files of one account that wait to be used
JMAP_UPLOADS_BYTES = 256 * MIB  # and their bytes
JMAP_UPLOAD_LIFE_MS = 24 * 3_600_000
JMAP_OBJECTS_GET_MAX = 1_000
JMAP_OBJECTS_SET_MAX = 1_000
JMAP_LIST_MAX = 10_000  # items of any other list
JMAP_QUERY_MAX = 5_000  # ids of one answer
JMAP_BODY_BYTES_MAX = 32 * MIB  # of body values in one answer
JMAP_PUSH_CLIENTS = 20_000  # event streams and sockets
JMAP_PUSH_PER_ACCOUNT = 64
JMAP_HOLD_MAX_S = 400 * 24 * 3_600  # how far ahead a message may be scheduled
JMAP_IDENTITIES_MAX = 100
JMAP_SCHEDULED_MAX = 1_000  # messages of one account that wait to be sent
JMAP_SESSION_MS = 60_000  # how long a vault stays open after a request

# SMTP
SMTP_LINE_MAX = 2_048  # a command with its parameters (RFC 5321 §4.5.3.1.4 and extensions)
SMTP_AUTH_LINE_MAX = 12_288  # RFC 4954 §4
SMTP_RECIPIENTS_MAX = 1_000  # of one message
SMTP_MAILS_MAX = 1_000  # of one connection
SMTP_ERRORS_MAX = 20  # commands of one connection that we did not understand or not allow
SMTP_IDLE_COMMANDS_MAX = 200  # NOOP, RSET, VRFY and their like, between two messages
SMTP_LOST_RECIPIENTS_MAX = 100  # recipients of one connection that we refused
SMTP_PENDING_MAX = 1 * MIB  # bytes that wait while a command is being answered
SMTP_CONNECTIONS_MAX = 5_000
SMTP_CONNECTIONS_PER_ADDRESS = 50
SMTP_IN_MEMORY_MAX = 512 * MIB  # messages that arrive at the same time
SMTP_CLIENT_AT_ONCE = 64  # messages on their way to others; through a smart host 8
SMTP_CLIENT_RELAY_AT_ONCE = 8
SMTP_CLIENT_BYTES_AT_ONCE = 128 * MIB  # of them in memory; one more may begin below that
SMTP_CLIENT_KEPT_MAX = 256  # connections that wait for a next message
SMTP_CLIENT_KEPT_MS = 5_000
SMTP_CLIENT_MESSAGES_MAX = 100  # over one connection
SMTP_CLIENT_MESSAGE_MAX_MS = 3_600_000  # for one message over one connection
AWAY_KNOWN_MAX = 100_000  # destinations that could not be reached a moment ago
STS_FETCH_MS = 20_000
DAY_COUNTS_IN_MEMORY = 10_000  # different things for reports, until they are written
DAY_COUNTS_MAX = 100_000  # different things for reports a day, of one kind
DAY_COUNTS_KEPT_DAYS = 14
SMTP_REPLY_LINE_MAX = 2_048  # of another server
SMTP_REPLY_LINES_MAX = 200

# Sieve
SIEVE_SCRIPT_MAX = 128 * KIB  # bytes of one script
SIEVE_SCRIPTS_MAX = 32  # of one account
SIEVE_NAME_MAX = 128  # characters of a script's name (RFC 5804 §1.6)
SIEVE_NESTING_MAX = 32  # blocks within blocks, tests within tests
SIEVE_COMMANDS_MAX = 4_096  # of one script, tests counted
SIEVE_STRINGS_MAX = 8_192  # of one script
SIEVE_STEPS_MAX = 50_000  # of one run: commands, tests, comparisons
SIEVE_WORK_MAX = 16 * MIB  # of one run: what comparisons cost, about a character each
SIEVE_VARIABLES_MAX = 128
SIEVE_VARIABLE_MAX = 4_096  # characters of a variable's value
SIEVE_EXPANDED_MAX = 64 * KIB  # characters of a string after its variables were put in
SIEVE_ACTIONS_MAX = 32  # of one message
SIEVE_REDIRECTS_MAX = 4  # of one message
SIEVE_REDIRECTS_DAY_MAX = 500  # of one account
SIEVE_FLAGS_MAX = 64  # of one list of flags
SIEVE_INCLUDES_MAX = 16  # scripts of one run
SIEVE_INCLUDE_DEPTH_MAX = 8
SIEVE_DUPLICATES_MAX = 8  # tests that ask what came before, of one message
SIEVE_EDITS_MAX = 64  # changes to the header of one message
SIEVE_REMEMBERED_MAX = 10_000  # messages and correspondents that an account's scripts remember
SIEVE_CACHE_MAX = 50_000  # accounts of which it is known in memory whether they have a script
SIEVE_COMPILED_BYTES = 16 * MIB  # sources of the compiled scripts that are kept

# ManageSieve and POP3
MANAGESIEVE_LINE_MAX = 8 * KIB  # a command without its literals
MANAGESIEVE_LITERAL_MAX = SIEVE_SCRIPT_MAX + 8 * KIB  # literals of one command, together
MANAGESIEVE_LITERAL_EARLY_MAX = 16 * KIB  # the same before log-in
MANAGESIEVE_SKIPPED_MAX = 4 * MIB  # a literal that is too long is read past up to this size
MANAGESIEVE_CONNECTIONS_MAX = 2_000
POP3_LINE_MAX = 2 * KIB
POP3_AUTH_LINE_MAX = 12 * KIB
POP3_CONNECTIONS_MAX = 5_000
POP3_MESSAGES_MAX = 20_000  # of a mailbox that are shown, the oldest
