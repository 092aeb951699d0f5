// The media of one call: LiveKit's client, encrypted with the keys that the engine hands on.
import {
  BaseKeyProvider, ConnectionQuality, LogLevel, Room, RoomEvent, setLogLevel, Track,
  type LocalVideoTrack, type Participant, type RemoteTrack, type TrackPublication,
} from "livekit-client";
import workerUrl from "livekit-client/e2ee-worker?worker&url";
import { scriptUrl } from "../app/trusted.ts";
import { fromBase64 } from "../engine/crypto/base64.ts";
import type { CallKey, CallPass } from "../engine/types.ts";

setLogLevel(LogLevel.warn);

export type Quality = "good" | "poor" | "lost" | "unknown";
export type DeviceKind = "audioinput" | "audiooutput" | "videoinput";

/** A picture of the call: somebody, or somebody's screen. */
export interface Tile {
  key: string;
  identity: string;
  here: boolean;
  screen: boolean;
  mic: boolean;
  speaking: boolean;
  quality: Quality;
  mirrored: boolean;
  /** Their picture, where there is one; changes with the track. */
  track: string | undefined;
  /** Shows it in an element; the answer takes it away. */
  attach(node: HTMLVideoElement): () => void;
}

/** What views need of a line; the make-believe one has it too. */
export interface CallLine {
  readonly state: "opening" | "on" | "again" | "over";
  readonly tiles: Tile[];
  readonly mic: boolean;
  readonly camera: boolean;
  readonly screen: boolean;
  /** What the browser did not give: a camera or a microphone. */
  readonly refused: boolean;
  readonly since: number;
  onended: () => void;
  open(video: boolean): Promise<void>;
  close(): Promise<void>;
  key(key: CallKey, after: number): void;
  setMic(on: boolean): Promise<void>;
  setCamera(on: boolean): Promise<void>;
  setScreen(on: boolean): Promise<void>;
  /** The camera on the other side, or the next one. */
  turnCamera(): Promise<void>;
  devices(kind: DeviceKind): Promise<{ id: string; name: string }[]>;
  chosen(kind: DeviceKind): string | undefined;
  choose(kind: DeviceKind, id: string): Promise<void>;
}

/** As the clients of MatrixRTC have it: each device's key is its own, and no ratchet is used. */
class Keys extends BaseKeyProvider {
  constructor() {
    super({ ratchetWindowSize: 0, keyringSize: 256 });
  }

  async set({ identity, index, key }: CallKey): Promise<void> {
    const material = await crypto.subtle.importKey("raw", fromBase64(key), "HKDF", false, ["deriveBits", "deriveKey"]);
    this.onSetEncryptionKey(material, identity, index);
  }
}

const QUALITY: Record<ConnectionQuality, Quality> = {
  [ConnectionQuality.Excellent]: "good",
  [ConnectionQuality.Good]: "good",
  [ConnectionQuality.Poor]: "poor",
  [ConnectionQuality.Lost]: "lost",
  [ConnectionQuality.Unknown]: "unknown",
};

const CHANGES = [
  RoomEvent.ParticipantConnected, RoomEvent.ParticipantDisconnected, RoomEvent.TrackSubscribed, RoomEvent.TrackUnsubscribed,
  RoomEvent.TrackPublished, RoomEvent.TrackUnpublished, RoomEvent.TrackMuted, RoomEvent.TrackUnmuted, RoomEvent.LocalTrackPublished,
  RoomEvent.LocalTrackUnpublished, RoomEvent.ActiveSpeakersChanged, RoomEvent.ConnectionQualityChanged, RoomEvent.TrackStreamStateChanged,
] as const;

class LiveLine implements CallLine {
  state = $state<CallLine["state"]>("opening");
  tiles = $state.raw<Tile[]>([]);
  mic = $state(false);
  camera = $state(false);
  screen = $state(false);
  refused = $state(false);
  since = $state(0);
  onended: () => void = () => undefined;
  readonly #keys = new Keys();
  readonly #worker = new Worker(scriptUrl(workerUrl), { type: "module" });
  readonly #room: Room;
  readonly #heard = new Map<string, HTMLMediaElement>();
  #facing: "user" | "environment" = "user";
  #closed = false;

  constructor(
    readonly pass: CallPass,
    readonly onback: () => void,
  ) {
    this.#room = new Room({
      e2ee: { keyProvider: this.#keys, worker: this.#worker },
      singlePeerConnection: false, // two connections: what the server speaks
      adaptiveStream: true,
      dynacast: true,
      publishDefaults: { videoCodec: "vp8", simulcast: true, dtx: true, red: false, stopMicTrackOnMute: false },
      audioCaptureDefaults: { echoCancellation: true, noiseSuppression: true, autoGainControl: true },
      videoCaptureDefaults: { resolution: { width: 1280, height: 720, frameRate: 24 } },
    });
  }

  async open(video: boolean): Promise<void> {
    const room = this.#room;
    for (const name of CHANGES) room.on(name, () => this.#look());
    room.on(RoomEvent.TrackSubscribed, (track) => this.#hear(track));
    room.on(RoomEvent.TrackUnsubscribed, (track) => this.#unhear(track));
    room.on(RoomEvent.SignalReconnecting, () => (this.state = "again"));
    room.on(RoomEvent.Reconnecting, () => (this.state = "again"));
    room.on(RoomEvent.Reconnected, () => {
      this.state = "on";
      this.onback();
    });
    room.on(RoomEvent.Disconnected, () => {
      this.state = "over";
      if (!this.#closed) this.onended();
    });
    const own: CallKey = { identity: this.pass.identity, ...this.pass.own };
    for (const key of [own, ...this.pass.keys]) await this.#keys.set(key);
    await room.setE2EEEnabled(true);
    await room.connect(this.pass.url, this.pass.jwt);
    this.state = "on";
    this.since = Date.now();
    await room.startAudio().catch(() => undefined);
    await this.setMic(true);
    if (video) await this.setCamera(true);
    this.#look();
  }

  async close(): Promise<void> {
    this.#closed = true;
    for (const node of this.#heard.values()) node.remove();
    this.#heard.clear();
    await this.#room.disconnect(true);
    this.#worker.terminate();
  }

  key(key: CallKey, after: number): void {
    const set = () => void (this.#closed || this.#keys.set(key));
    if (after > 0) setTimeout(set, after);
    else set();
  }

  #hear(track: RemoteTrack): void {
    if (track.kind !== Track.Kind.Audio) return;
    const node = track.attach();
    node.hidden = true;
    document.body.append(node);
    this.#heard.set(track.sid ?? "", node);
  }

  #unhear(track: RemoteTrack): void {
    for (const node of track.detach()) node.remove();
    this.#heard.delete(track.sid ?? "");
  }

  #look(): void {
    const { localParticipant: me, remoteParticipants } = this.#room;
    this.mic = me.isMicrophoneEnabled;
    this.camera = me.isCameraEnabled;
    this.screen = me.isScreenShareEnabled;
    this.tiles = [...remoteParticipants.values(), me].flatMap((one) => this.#tilesOf(one));
  }

  #tilesOf(one: Participant): Tile[] {
    const here = one.isLocal;
    const of = (publication: TrackPublication | undefined, screen: boolean): Tile => {
      const track = publication && !publication.isMuted ? publication.videoTrack : undefined;
      return {
        key: `${one.identity} ${screen ? "screen" : "camera"}`,
        identity: here ? this.pass.identity : one.identity,
        here, screen,
        mic: one.isMicrophoneEnabled,
        speaking: one.isSpeaking && !screen,
        quality: QUALITY[one.connectionQuality],
        mirrored: here && !screen && this.#facing === "user",
        track: track?.sid ?? track?.mediaStreamTrack?.id,
        attach: (node) => {
          track?.attach(node);
          return () => void track?.detach(node);
        },
      };
    };
    const tiles = [of(one.getTrackPublication(Track.Source.Camera), false)];
    const shared = one.getTrackPublication(Track.Source.ScreenShare);
    if (shared?.videoTrack && !shared.isMuted) tiles.unshift(of(shared, true));
    return tiles;
  }

  async #try(deed: () => Promise<unknown>): Promise<void> {
    try {
      await deed();
      this.refused = false;
    } catch (error) {
      if (this.#closed) return;
      console.warn(error);
      this.refused = true;
    }
    this.#look();
  }

  setMic(on: boolean): Promise<void> {
    return this.#try(() => this.#room.localParticipant.setMicrophoneEnabled(on));
  }

  setCamera(on: boolean): Promise<void> {
    return this.#try(() => this.#room.localParticipant.setCameraEnabled(on));
  }

  /** Who closes the browser's own question without an answer has not been refused anything. */
  async setScreen(on: boolean): Promise<void> {
    await this.#room.localParticipant.setScreenShareEnabled(on, { audio: true }).catch(() => undefined);
    this.#look();
  }

  async turnCamera(): Promise<void> {
    const track = this.#room.localParticipant.getTrackPublication(Track.Source.Camera)?.videoTrack as LocalVideoTrack | undefined;
    if (!track) return;
    if (matchMedia("(pointer: coarse)").matches) {
      this.#facing = this.#facing === "user" ? "environment" : "user";
      return this.#try(() => track.restartTrack({ facingMode: this.#facing }));
    }
    const all = await this.devices("videoinput");
    const now = all.findIndex((one) => one.id === this.chosen("videoinput"));
    const next = all[(now + 1) % all.length];
    if (next) await this.choose("videoinput", next.id);
  }

  async devices(kind: DeviceKind): Promise<{ id: string; name: string }[]> {
    const found = await Room.getLocalDevices(kind, false).catch(() => []);
    return found.filter((one) => one.deviceId).map((one) => ({ id: one.deviceId, name: one.label }));
  }

  chosen(kind: DeviceKind): string | undefined {
    return this.#room.getActiveDevice(kind);
  }

  choose(kind: DeviceKind, id: string): Promise<void> {
    return this.#try(() => this.#room.switchActiveDevice(kind, id));
  }
}

export function openLine(pass: CallPass, onback: () => void): CallLine {
  return new LiveLine(pass, onback);
}
