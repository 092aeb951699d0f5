// The engine as views and models see it: groups of async calls, and events. Everything that goes
// through here can be cloned by a message port: no functions, no classes, no DOM nodes.
//
// Nothing in here is text for people: what is said is said in `words`, by the codes given here.

export type UserId = string;
export type RoomId = string;
export type EventId = string;
/** `mxc://server/id`. */
export type Mxc = string;
/** Milliseconds since 1970. */
export type Ms = number;

// ---------------------------------------------------------------- errors

/** What a call rejects with. `code` is what views choose words by; `text` is for logs. */
export interface EngineFault {
    code: FaultCode;
    text: string;
    /** The HTTP status and Matrix error code, where a server answered. */
    status?: number;
    errcode?: string;
    retryAfterMs?: number;
}

export type FaultCode =
    | "offline" // no answer from the server
    | "busy" // the server asks to wait: retryAfterMs
    | "wrong-password"
    | "second-factor" // a code is needed behind the password: pass `code`
    | "name-taken"
    | "bad-name"
    | "weak-password"
    | "bad-invite" // the invite token is unknown or used up
    | "registration-closed"
    | "locked" // the account was locked by an administrator
    | "suspended"
    | "signed-out"
    | "forbidden"
    | "not-found"
    | "too-large"
    | "over-quota"
    | "bad-key" // not a recovery key, or not the one of this account
    | "no-recovery" // the account has no recovery key yet
    | "crypto-loading" // the part that encrypts is still on its way
    | "storage-full"
    | "cancelled"
    | "bad-input"
    | "server" // the server failed
    | "bug"; // ours

// ---------------------------------------------------------------- session

export type SessionState =
    | { kind: "starting" }
    | { kind: "out"; reason?: "logged-out" | "removed" | "locked" | "wiped" }
    /** The device and all it holds stand, the token has ended: ask for the password (`relogin`). */
    | { kind: "soft-out"; userId: UserId; deviceId: string }
    | { kind: "in"; userId: UserId; deviceId: string; domain: string };

export interface ServerOffer {
    domain: string;
    registration: "open" | "invite" | "closed";
}

/** The line to the server. `waiting`: failed, tries again at `retryAt`. */
export interface Connection {
    kind: "connecting" | "online" | "waiting" | "offline" | "stopped";
    retryAt?: Ms;
    /** True until everything of the first sync of this start is stored. */
    catchingUp: boolean;
}

/** Where the part that encrypts stands. Sending to encrypted rooms waits in the outbox till `ready`. */
export interface CryptoLoad {
    kind: "idle" | "loading" | "ready" | "failed";
    loaded: number;
    total: number;
}

export interface NetRequest {
    method?: string;
    /** A path on the own server, beginning with `/`. */
    path: string;
    headers?: Record<string, string>;
    body?: string | Blob | ArrayBuffer;
}

export interface NetAnswer {
    status: number;
    headers: Record<string, string>;
    body: ArrayBuffer;
}

export interface SessionCalls {
    state(): Promise<SessionState>;
    /** What the server offers to somebody who is not signed in. */
    offer(): Promise<ServerOffer>;
    /** False when taken; rejects with `bad-name`. */
    nameFree(name: string): Promise<boolean>;
    inviteValid(token: string): Promise<boolean>;
    register(want: {
        name: string;
        password: string;
        invite?: string;
        deviceName: string;
    }): Promise<void>;
    /** `name`: a local part or a whole user id. `code`: of a second factor. */
    login(want: {
        name: string;
        password: string;
        code?: string;
        deviceName: string;
    }): Promise<void>;
    /** With a login token (`m.login.token`), e.g. by a link from another device. */
    loginByToken(token: string, deviceName: string): Promise<void>;
    /** After a soft logout: the same device goes on. */
    relogin(password: string, code?: string): Promise<void>;
    /** Ends this device on the server and removes everything from this browser. */
    logout(): Promise<void>;
    /** Removes everything from this browser without asking the server. */
    wipe(): Promise<void>;
    connection(): Promise<Connection>;
    crypto(): Promise<CryptoLoad>;
    /** Begin (again) to load the part that encrypts. It begins by itself after the first sync. */
    loadCrypto(): Promise<void>;
    /** Try the line now instead of at `retryAt`. */
    retryNow(): Promise<void>;
    /** A request to the own server with this session's authority; never rejects for a status. */
    request(request: NetRequest): Promise<NetAnswer>;
    /** The access token, for streams that the caller opens itself. */
    token(): Promise<string>;
}

// ---------------------------------------------------------------- account and keys

export interface Profile {
    userId: UserId;
    name?: string;
    avatar?: Mxc;
}

export interface DeviceInfo {
    deviceId: string;
    name?: string;
    seenAt?: Ms;
    seenIp?: string;
    current: boolean;
    /** Signed by the owner's own identity. `undefined`: not known (yet), or a device without keys. */
    verified?: boolean;
    /** Its fingerprint (Ed25519), grouped for reading. */
    fingerprint?: string;
}

/** What the account's keys are like on this device. */
export interface KeyState {
    /**
     * `unknown` until crypto is ready and asked · `none`: no recovery key was ever made ·
     * `locked`: there is one, this device has not got it (ask for it, or verify from another
     * device) · `ready`: this device is signed by its owner and backs up its keys.
     */
    recovery: "unknown" | "none" | "locked" | "ready";
    /** True when this device is verified by the account's identity. */
    verified: boolean;
    backup: { on: boolean; version?: string; pending: number };
    /** A restore under way. */
    restoring?: { done: number; total: number };
}

export interface ImportProgress {
    imported: number;
    total: number;
}

/** The words that show a person's trust (look.md: filled, outlined, open padlock). */
export type Trust =
    | "verified" // by you
    | "encrypted" // known, not verified by you
    | "changed" // the identity changed since it was last seen
    | "unknown"; // no keys known

export interface AccountCalls {
    profile(userId?: UserId): Promise<Profile>;
    setName(name: string): Promise<void>;
    setAvatar(picture: Blob | null): Promise<void>;
    devices(): Promise<DeviceInfo[]>;
    renameDevice(deviceId: string, name: string): Promise<void>;
    removeDevices(deviceIds: string[], password: string, code?: string): Promise<void>;
    changePassword(want: {
        old: string;
        fresh: string;
        code?: string;
        othersOut: boolean;
    }): Promise<void>;
    /** Ends the account for ever. */
    close(password: string, erase: boolean, code?: string): Promise<void>;
    keys(): Promise<KeyState>;
    /**
     * Makes the account's recovery key: cross-signing, secret storage, key backup, and the vault's
     * recovery slot, all from this one key. It is given once and never kept.
     */
    createRecoveryKey(password: string, code?: string): Promise<{ key: string }>;
    /** With the key: signs this device, opens the backup and fetches all keys. */
    enterRecoveryKey(key: string): Promise<ImportProgress>;
    /** Whether text looks like a recovery key (prefix and check byte). */
    recoveryKeyValid(text: string): Promise<boolean>;
    ignored(): Promise<UserId[]>;
    setIgnored(userId: UserId, ignored: boolean): Promise<void>;
    /** Account data of our own (settings that follow the account). */
    accountData<T>(type: string): Promise<T | undefined>;
    setAccountData(type: string, content: object): Promise<void>;
    setPresence(on: boolean): Promise<void>;
}

// ---------------------------------------------------------------- verification

export interface VerificationState {
    id: string;
    userId: UserId;
    deviceId?: string;
    /** With another device of one's own. */
    own: boolean;
    incoming: boolean;
    roomId?: RoomId;
    phase:
        | "requested" // waiting for the other side, or for `accept`
        | "ready" // choose: emoji or QR
        | "comparing" // `emoji` are shown: `same` or `different`
        | "qr-scanned" // the other side scanned ours: `confirmScan`
        | "waiting" // we said yes, the other side has not yet
        | "done"
        | "cancelled";
    emoji?: { symbol: string; name: string }[];
    decimals?: [number, number, number];
    /** What to show as a QR code; the bytes are Latin-1 of what is encoded. */
    qr?: Uint8Array;
    canScan?: boolean;
    /** Matrix cancel code, e.g. `m.mismatched_sas`. */
    cancelCode?: string;
    cancelledByUs?: boolean;
}

export interface VerificationCalls {
    list(): Promise<VerificationState[]>;
    /** A request to all other devices of one's own. */
    requestOwn(): Promise<VerificationState>;
    requestDevice(deviceId: string): Promise<VerificationState>;
    /** In the direct chat with a person. */
    requestUser(userId: UserId): Promise<VerificationState>;
    accept(id: string): Promise<void>;
    startEmoji(id: string): Promise<void>;
    same(id: string): Promise<void>;
    different(id: string): Promise<void>;
    scanned(id: string, qr: Uint8Array): Promise<void>;
    confirmScan(id: string): Promise<void>;
    cancel(id: string): Promise<void>;
    trust(userId: UserId): Promise<Trust>;
    /** Take a person's new identity as theirs (not the same as verifying it). */
    acceptIdentity(userId: UserId): Promise<void>;
    /** The devices of another person, as far as known. */
    devicesOf(userId: UserId): Promise<DeviceInfo[]>;
}

// ---------------------------------------------------------------- rooms

export type RoomKind = "dm" | "group" | "channel" | "space";
export type Membership = "join" | "invite" | "knock" | "leave" | "ban";
export type Notify = "all" | "mentions" | "none";

/** A message in one line, without words of ours. */
export interface Preview {
    eventId?: EventId;
    sender: UserId;
    senderName: string;
    mine: boolean;
    ts: Ms;
    kind: ContentKind;
    /** The text, caption, file name or question, where there is one; at most 200 characters. */
    text?: string;
    /** For state: who or what it is about. */
    about?: string;
    status?: SendStatus;
}

export interface RoomSummary {
    id: RoomId;
    kind: RoomKind;
    membership: Membership;
    /** Set by the room, or made of its people; empty: use words for "empty room". */
    name: string;
    /** True when `name` was made of `heroes`. */
    nameFromHeroes: boolean;
    avatar?: Mxc;
    topic?: string;
    alias?: string;
    /** The other person of a direct chat. */
    dmUser?: UserId;
    heroes: Profile[];
    joined: number;
    invited: number;
    encrypted: boolean;
    last?: Preview;
    /** What lists are ordered by. */
    ts: Ms;
    unread: number;
    highlights: number;
    markedUnread: boolean;
    notify: Notify;
    favourite: boolean;
    lowPriority: boolean;
    /** Spaces that this room is in. */
    parents: RoomId[];
    /** For spaces: their rooms in order. */
    children?: RoomId[];
    inviter?: Profile;
    /** An invite from somebody with whom we share nothing else: a message request. */
    stranger?: boolean;
    typing: string[];
    /** A draft waits here. */
    draft?: string;
    /** Messages of ours that wait. */
    queued: number;
    failed: number;
    /** The room was replaced by this one. */
    replacedBy?: RoomId;
    /** Whether we may send messages. */
    canSend: boolean;
    pinned: EventId[];
    /** Messages disappear this long after they are sent. */
    disappearMs?: Ms;
}

export interface MemberInfo extends Profile {
    membership: Membership;
    power: number;
    role: "owner" | "admin" | "moderator" | "member";
    trust?: Trust;
}

export interface RoomRights {
    send: boolean;
    invite: boolean;
    kick: boolean;
    ban: boolean;
    redactOthers: boolean;
    name: boolean;
    topic: boolean;
    avatar: boolean;
    pin: boolean;
    power: boolean;
    joinRule: boolean;
    timer: boolean;
    mentionRoom: boolean;
    children: boolean;
}

export type JoinRule = "public" | "invite" | "knock" | "restricted" | "private";

export interface RoomDetails {
    summary: RoomSummary;
    rights: RoomRights;
    myPower: number;
    joinRule: JoinRule;
    historyVisibility: "invited" | "joined" | "shared" | "world_readable";
    creator?: UserId;
    version: string;
    altAliases: string[];
    /** Members whose identity changed and was not yet answered. */
    changedIdentities: Profile[];
    ignored: UserId[];
}

export interface NewRoom {
    kind: "dm" | "group" | "channel" | "space";
    name?: string;
    topic?: string;
    avatar?: Blob;
    invite?: UserId[];
    /** Default: true for dm and group, false for channel and space. */
    encrypted?: boolean;
    public?: boolean;
    aliasName?: string;
    parent?: RoomId;
    disappearMs?: Ms;
}

/** A room that we need not be in. */
export interface RoomGlimpse {
    id: RoomId;
    name?: string;
    topic?: string;
    avatar?: Mxc;
    alias?: string;
    joined: number;
    kind: "room" | "space";
    joinRule: JoinRule;
    encrypted: boolean;
    membership?: Membership;
    via: string[];
}

export interface RoomCalls {
    /** All of them; models sort and filter (`models/rooms.svelte.ts`). */
    list(): Promise<RoomSummary[]>;
    get(roomId: RoomId): Promise<RoomSummary | undefined>;
    details(roomId: RoomId): Promise<RoomDetails>;
    /** From the store at once; asks the server when not all are known. */
    members(roomId: RoomId): Promise<MemberInfo[]>;
    /** Tells the engine which rooms are on screen, so that these come first. */
    look(visible: RoomId[]): Promise<void>;
    create(room: NewRoom): Promise<RoomId>;
    /** The direct chat with a person: the one there is, or a new one. */
    openDm(userId: UserId): Promise<RoomId>;
    join(idOrAlias: string, via?: string[]): Promise<RoomId>;
    knock(idOrAlias: string, via?: string[], reason?: string): Promise<RoomId>;
    leave(roomId: RoomId): Promise<void>;
    forget(roomId: RoomId): Promise<void>;
    invite(roomId: RoomId, userId: UserId): Promise<void>;
    kick(roomId: RoomId, userId: UserId, reason?: string): Promise<void>;
    ban(roomId: RoomId, userId: UserId, reason?: string): Promise<void>;
    unban(roomId: RoomId, userId: UserId): Promise<void>;
    setPower(roomId: RoomId, userId: UserId, power: number): Promise<void>;
    setName(roomId: RoomId, name: string): Promise<void>;
    setTopic(roomId: RoomId, topic: string): Promise<void>;
    setAvatar(roomId: RoomId, picture: Blob | null): Promise<void>;
    setJoinRule(roomId: RoomId, rule: JoinRule): Promise<void>;
    setDisappear(roomId: RoomId, ms: Ms | null): Promise<void>;
    /** Only admins write, or everybody. */
    setChannel(roomId: RoomId, channel: boolean): Promise<void>;
    pin(roomId: RoomId, eventId: EventId, pinned: boolean): Promise<void>;
    pinnedItems(roomId: RoomId): Promise<TimelineItem[]>;
    setNotify(roomId: RoomId, notify: Notify): Promise<void>;
    setFavourite(roomId: RoomId, on: boolean): Promise<void>;
    setLowPriority(roomId: RoomId, on: boolean): Promise<void>;
    setMarkedUnread(roomId: RoomId, on: boolean): Promise<void>;
    /** Receipts and the read marker up to an event, or to the newest. */
    markRead(roomId: RoomId, eventId?: EventId, privately?: boolean): Promise<void>;
    typing(roomId: RoomId, on: boolean): Promise<void>;
    report(roomId: RoomId, reason: string, eventId?: EventId): Promise<void>;
    setChild(spaceId: RoomId, roomId: RoomId, on: boolean): Promise<void>;
    hierarchy(spaceId: RoomId): Promise<RoomGlimpse[]>;
    /** An address in `#name:domain`; also published, so that links work. */
    setAlias(roomId: RoomId, aliasName: string | null): Promise<void>;
    /** A link to the own server's app that opens or offers the room. */
    inviteLink(roomId: RoomId): Promise<string>;
    glimpse(idOrAlias: string, via?: string[]): Promise<RoomGlimpse>;
    searchUsers(text: string, limit?: number): Promise<Profile[]>;
    searchPublic(text: string, limit?: number): Promise<RoomGlimpse[]>;
    /** State of any kind, for parts that the engine has no call for. */
    state(roomId: RoomId, type: string, key?: string): Promise<object | undefined>;
    setState(roomId: RoomId, type: string, key: string, content: object): Promise<EventId>;
}

// ---------------------------------------------------------------- timelines

export type SendStatus =
    | "queued" // stored, waits for its turn, the line or the keys
    | "sending"
    | "sent" // the server has it
    | "failed"; // refused, or tried long enough: `retry` or `cancel`

export interface EncryptedFile {
    url: Mxc;
    key: { alg: string; ext: boolean; k: string; key_ops: string[]; kty: string };
    iv: string;
    hashes: Record<string, string>;
    v: string;
}

export interface MediaRef {
    mxc?: Mxc;
    file?: EncryptedFile;
    /** Not yet uploaded: the file in the outbox under this id. */
    local?: string;
    name: string;
    mime: string;
    size?: number;
}

export interface Picture {
    media: MediaRef;
    width?: number;
    height?: number;
    blurhash?: string;
    thumb?: MediaRef;
    caption?: string;
    captionHtml?: string;
}

export type ItemContent =
    | { kind: "text"; body: string; html?: string; style: "text" | "emote" | "notice" }
    | ({ kind: "image" } & Picture)
    | ({ kind: "video"; durationMs?: number } & Picture)
    | { kind: "voice"; media: MediaRef; durationMs: number; waveform: number[] }
    | { kind: "audio"; media: MediaRef; durationMs?: number; caption?: string }
    | { kind: "file"; media: MediaRef; caption?: string }
    | ({ kind: "sticker" } & Picture)
    | { kind: "poll"; poll: Poll }
    | { kind: "location"; lat: number; lon: number; accuracy?: number; body: string }
    | { kind: "redacted"; by?: UserId; byName?: string }
    | { kind: "undecryptable"; why: UndecryptableWhy }
    | { kind: "verification"; withUser: UserId }
    | { kind: "call"; video: boolean }
    | MemberChange
    | StateChange
    | { kind: "unsupported"; type: string; body?: string };

export type ContentKind = ItemContent["kind"];

export type UndecryptableWhy =
    | "loading" // crypto is not there yet
    | "no-key" // the key has not come (yet)
    | "before-device" // sent before this device was there: the recovery key gives it
    | "withheld" // the sender gave no key
    | "broken";

export interface MemberChange {
    kind: "member";
    change:
        | "joined"
        | "invited"
        | "left"
        | "kicked"
        | "banned"
        | "unbanned"
        | "refused" // an invite
        | "withdrawn" // an invite
        | "knocked"
        | "renamed"
        | "new-avatar";
    user: UserId;
    userName: string;
    oldName?: string;
    reason?: string;
}

export interface StateChange {
    kind: "state";
    change:
        | "created"
        | "encrypted"
        | "named"
        | "topic"
        | "avatar"
        | "pinned"
        | "unpinned"
        | "power"
        | "join-rule"
        | "timer" // `ms`, 0 when off
        | "replaced"
        | "address"
        | "other";
    text?: string;
    ms?: Ms;
    type: string;
}

export interface Poll {
    question: string;
    /** Votes are shown before the end. */
    open: boolean;
    ended: boolean;
    maxChoices: number;
    answers: { id: string; text: string; votes: number; mine: boolean; winner: boolean }[];
    voters: number;
}

export interface Reaction {
    key: string;
    count: number;
    mine: boolean;
    /** The first names, at most 20. */
    names: string[];
}

export interface ReplyTo {
    eventId: EventId;
    /** Undefined while it is not loaded, or gone. */
    preview?: Preview;
}

export interface TimelineItem {
    /** Stays the same from the local echo to the event of the server. */
    key: string;
    eventId?: EventId;
    txnId?: string;
    roomId: RoomId;
    sender: UserId;
    senderName: string;
    senderAvatar?: Mxc;
    mine: boolean;
    ts: Ms;
    content: ItemContent;
    status: SendStatus;
    fault?: EngineFault;
    /** Of an upload that belongs to it. */
    upload?: TransferState;
    edited: boolean;
    replyTo?: ReplyTo;
    threadRoot?: EventId;
    thread?: { count: number; last?: Preview };
    reactions: Reaction[];
    /** People whose newest receipt is here (not one's own), at most 20. */
    readBy: UserId[];
    /** Read by anybody else: this one or a later one. */
    read: boolean;
    /** Clear, or how far the device that sent it is known. */
    seal: "clear" | "sealed" | "unverified" | "unknown-device" | "mismatch";
    mentionsMe: boolean;
    pinned: boolean;
    canEdit: boolean;
    canRedact: boolean;
}

/** A hole in what is stored; `loadBefore` fills it when it is reached. */
export interface TimelineState {
    view: string;
    roomId: RoomId;
    /** Oldest first. */
    items: TimelineItem[];
    /** More can be had before the first / after the last item. */
    before: boolean;
    after: boolean;
    loading: boolean;
    /** The first unread item when the view was opened. */
    unreadKey?: string;
    /** The item that was asked for by `at`. */
    focusKey?: string;
}

/** Apply in order: at `at`, take away `remove` items and put in `insert`. */
export interface TimelineChange {
    view: string;
    splices: { at: number; remove: number; insert: TimelineItem[] }[];
    before: boolean;
    after: boolean;
    loading: boolean;
}

export interface TimelineCalls {
    /** A window on a room, a thread in it, or around an event. Close it when it leaves the screen. */
    open(want: {
        roomId: RoomId;
        thread?: EventId;
        at?: EventId;
        size?: number;
    }): Promise<TimelineState>;
    /** More of it: from the store, else from the server. Gives how many came. */
    loadBefore(view: string, count?: number): Promise<number>;
    loadAfter(view: string, count?: number): Promise<number>;
    close(view: string): Promise<void>;
    /** The whole event as JSON, decrypted, for "view source". */
    source(roomId: RoomId, eventId: EventId): Promise<object>;
    threads(roomId: RoomId): Promise<TimelineItem[]>;
    reactionsOf(roomId: RoomId, eventId: EventId): Promise<{ key: string; users: Profile[] }[]>;
    readersOf(roomId: RoomId, eventId: EventId): Promise<{ user: Profile; ts: Ms }[]>;
}

// ---------------------------------------------------------------- writing

export interface SendTo {
    roomId: RoomId;
    replyTo?: EventId;
    thread?: EventId;
}

export interface FileToSend {
    blob: Blob;
    name: string;
    mime: string;
    kind: "image" | "video" | "voice" | "audio" | "file";
    width?: number;
    height?: number;
    durationMs?: number;
    /** 0 to 1, at most 100 values. */
    waveform?: number[];
    blurhash?: string;
    thumb?: { blob: Blob; width: number; height: number; mime: string };
    caption?: string;
}

export interface Draft {
    text: string;
    replyTo?: EventId;
    editing?: EventId;
    mentions?: UserId[];
}

/** Everything here is stored in the outbox before it resolves (with the transaction id). */
export interface ComposerCalls {
    /** `markdown` becomes body and formatted body; mentions are named by id. */
    text(to: SendTo, markdown: string, mentions?: UserId[], emote?: boolean): Promise<string>;
    edit(roomId: RoomId, eventId: EventId, markdown: string, mentions?: UserId[]): Promise<string>;
    file(to: SendTo, file: FileToSend): Promise<string>;
    sticker(to: SendTo, sticker: { body: string; picture: Picture }): Promise<string>;
    location(to: SendTo, lat: number, lon: number, body: string): Promise<string>;
    poll(
        to: SendTo,
        poll: { question: string; answers: string[]; open: boolean; maxChoices: number },
    ): Promise<string>;
    vote(roomId: RoomId, pollId: EventId, answerIds: string[]): Promise<string>;
    endPoll(roomId: RoomId, pollId: EventId): Promise<string>;
    /** Adds one's reaction, or takes it away. */
    react(roomId: RoomId, eventId: EventId, key: string): Promise<void>;
    redact(roomId: RoomId, eventId: EventId, reason?: string): Promise<void>;
    forward(roomId: RoomId, eventId: EventId, to: RoomId[]): Promise<void>;
    /** Any event, encrypted where the room is. */
    event(roomId: RoomId, type: string, content: object): Promise<string>;
    draft(roomId: RoomId, thread?: EventId): Promise<Draft | undefined>;
    setDraft(roomId: RoomId, draft: Draft | null, thread?: EventId): Promise<void>;
}

export interface OutboxEntry {
    txnId: string;
    roomId: RoomId;
    queuedAt: Ms;
    status: SendStatus;
    tries: number;
    fault?: EngineFault;
    preview?: Preview;
    upload?: TransferState;
}

export interface OutboxCalls {
    list(): Promise<OutboxEntry[]>;
    retry(txnId: string): Promise<void>;
    /** Takes a waiting message back; rejects with `not-found` once the server has it. */
    cancel(txnId: string): Promise<void>;
    pause(txnId: string): Promise<void>;
    resume(txnId: string): Promise<void>;
}

// ---------------------------------------------------------------- files

export interface TransferState {
    id: string;
    direction: "up" | "down";
    done: number;
    total: number;
    paused: boolean;
    failed?: EngineFault;
}

export interface MediaCalls {
    /** The file, decrypted. Kept on the device up to a budget. */
    get(ref: MediaRef): Promise<Blob>;
    /** A small picture of clear media, made by the server. For avatars. */
    thumb(mxc: Mxc, width: number, height: number, crop?: boolean): Promise<Blob>;
    /** Stops a download under way. */
    cancel(ref: MediaRef): Promise<void>;
    limit(): Promise<number>;
    /** Clear upload (avatars and the like). */
    upload(blob: Blob, name?: string): Promise<Mxc>;
    stickers(): Promise<{ body: string; picture: Picture }[]>;
    addSticker(sticker: { body: string; picture: Picture }): Promise<void>;
}

// ---------------------------------------------------------------- search and storage

export interface SearchHit {
    roomId: RoomId;
    roomName: string;
    item: TimelineItem;
    /** Words of the message that matched, as they stand in it. */
    words: string[];
}

export interface SearchCalls {
    /** Over everything that this device has stored and could read, newest first. */
    messages(want: {
        text: string;
        roomId?: RoomId;
        sender?: UserId;
        before?: Ms;
        limit?: number;
    }): Promise<{ hits: SearchHit[]; more: boolean }>;
    /** Rooms and people by name. */
    names(text: string, limit?: number): Promise<{ rooms: RoomSummary[]; people: Profile[] }>;
    /** How much of the stored messages is in the index. */
    progress(): Promise<{ indexed: number; rooms: number }>;
}

export interface StorageCalls {
    use(): Promise<{ bytes: number; quota: number; mediaBytes: number; persisted: boolean }>;
    persist(): Promise<boolean>;
    clearMedia(): Promise<void>;
    /** What may be fetched by itself; the engine's own manners follow it. */
    setSaver(on: boolean): Promise<void>;
}

// ---------------------------------------------------------------- calls

/** A device in the call of a room. */
export interface CallMember {
    userId: UserId;
    deviceId: string;
    /** Its name in the call itself. */
    identity: string;
    name: string;
    since: Ms;
    video: boolean;
    /** This very device. */
    here: boolean;
    /** Signed by its owner. */
    verified: boolean;
}

/** Somebody calls. */
export interface CallRing {
    id: EventId;
    roomId: RoomId;
    sender: UserId;
    senderName: string;
    video: boolean;
    ts: Ms;
    until: Ms;
}

/** A call that rang here, or that one made. */
export interface CallRecord {
    id: EventId;
    roomId: RoomId;
    sender: UserId;
    senderName: string;
    video: boolean;
    ts: Ms;
    outcome: "out" | "answered" | "declined" | "missed";
}

/** A key of a device in a call: base64 without padding. */
export interface CallKey {
    identity: string;
    index: number;
    key: string;
}

/** What a tab needs to open the line of a call. */
export interface CallPass {
    url: string;
    jwt: string;
    identity: string;
    own: { index: number; key: string };
    keys: CallKey[];
}

export interface CallCalls {
    /** Whether this server holds calls. */
    offered(): Promise<boolean>;
    /** Rooms in which a call is held now. */
    running(): Promise<{ roomId: RoomId; members: CallMember[] }[]>;
    members(roomId: RoomId): Promise<CallMember[]>;
    /** Says that this device is in the call of a room; `ring`: and calls the others, if it is the first. */
    join(roomId: RoomId, want: { video: boolean; ring: boolean }): Promise<CallPass>;
    /** After a line that was lost too long: says it again, if the server said the leave meanwhile. */
    again(): Promise<void>;
    leave(): Promise<void>;
    rings(): Promise<CallRing[]>;
    decline(ringId: EventId): Promise<void>;
    /** Newest first. */
    history(): Promise<CallRecord[]>;
}

// ---------------------------------------------------------------- the whole

export interface EngineCalls {
    session: SessionCalls;
    account: AccountCalls;
    verification: VerificationCalls;
    rooms: RoomCalls;
    timeline: TimelineCalls;
    composer: ComposerCalls;
    outbox: OutboxCalls;
    media: MediaCalls;
    search: SearchCalls;
    storage: StorageCalls;
    calls: CallCalls;
}

export interface EngineEvents {
    session: SessionState;
    connection: Connection;
    crypto: CryptoLoad;
    keys: KeyState;
    /** Rooms that changed (whole summaries) and rooms that are gone. */
    rooms: { changed: RoomSummary[]; gone: RoomId[] };
    timeline: TimelineChange;
    /** Members of a room changed: ask again where they are shown. */
    members: { roomId: RoomId };
    outbox: OutboxEntry[];
    transfer: TransferState;
    verification: VerificationState;
    /** A person's identity changed. */
    identity: { userId: UserId; trust: Trust };
    profile: Profile;
    /** A new message that the push rules say to tell of, while the app runs. */
    notify: { room: RoomSummary; item: TimelineItem; loud: boolean };
    /** Call signalling (`m.call.*`, MatrixRTC), decrypted. */
    call: { roomId?: RoomId; sender: UserId; type: string; content: object; ts: Ms };
    /** Somebody calls; `over`: it rings no longer, and why. */
    ring: { ring: CallRing; over?: "answered" | "declined" | "missed" };
    /** Who is in the call of a room now. */
    callMembers: { roomId: RoomId; members: CallMember[] };
    /** A key of the call that one is in; one's own is used `after` so many ms. */
    callKey: CallKey & { roomId: RoomId; after: Ms };
    /** Whom one calls does not take it. */
    callDeclined: { roomId: RoomId; userId: UserId };
    callLogged: CallRecord;
    /** Account data changed. */
    accountData: { type: string };
    /** The engine moved to another tab, or began anew: ask again for everything shown. */
    restarted: null;
}

export type EventName = keyof EngineEvents;

/** What `connect()` in engine/index.ts gives. */
export interface Engine extends EngineCalls {
    on<K extends EventName>(name: K, listener: (data: EngineEvents[K]) => void): () => void;
}
