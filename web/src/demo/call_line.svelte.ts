// A line of make-believe: tiles with painted pictures, for `make shots`.
import type { CallLine, Tile } from "../models/call_line.svelte.ts";

const TINTS: [string, string][] = [["#3d6b73", "#c9a27a"], ["#7a4a52", "#e0bf98"], ["#566a3f", "#d3a888"], ["#41506e", "#e3c3a0"]];

function paint(node: HTMLVideoElement, n: number): () => void {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [640, 480];
  const brush = canvas.getContext("2d")!;
  const [wall, skin] = TINTS[n % TINTS.length]!;
  const draw = () => {
    brush.fillStyle = wall;
    brush.fillRect(0, 0, 640, 480);
    brush.fillStyle = "#241d1a";
    brush.beginPath();
    brush.ellipse(320, 520, 200, 190, 0, 0, 7);
    brush.fill();
    brush.fillStyle = skin;
    brush.beginPath();
    brush.ellipse(320, 230, 84, 108, 0, 0, 7);
    brush.fill();
  };
  draw();
  const stream = canvas.captureStream(5);
  node.srcObject = stream;
  const timer = setInterval(draw, 200);
  return () => clearInterval(timer);
}

class DemoLine implements CallLine {
  state = $state<CallLine["state"]>("on");
  tiles = $state.raw<Tile[]>([]);
  mic = $state(true);
  camera = $state(true);
  screen = $state(false);
  refused = $state(false);
  since = Date.now() - 754_000;
  onended: () => void = () => undefined;

  async open(video: boolean): Promise<void> {
    this.camera = video;
    const group = decodeURIComponent(location.pathname).includes("family");
    const names = group ? ["merdan", "jeren", "oguljan", "me"] : ["@batyr:kerwen.tm:D", "me"];
    this.tiles = names.map((identity, n) => ({
      key: identity, identity, here: identity === "me", screen: false, mic: identity !== "jeren", speaking: n === 0,
      quality: identity === "oguljan" ? "poor" : "good", mirrored: false,
      track: !video || identity === "jeren" ? undefined : identity,
      attach: (node) => paint(node, n),
    }));
  }
  async close(): Promise<void> {}
  key(): void {}
  async setMic(on: boolean): Promise<void> {
    this.mic = on;
  }
  async setCamera(on: boolean): Promise<void> {
    this.camera = on;
  }
  async setScreen(on: boolean): Promise<void> {
    this.screen = on;
  }
  async turnCamera(): Promise<void> {}
  async devices(kind: string): Promise<{ id: string; name: string }[]> {
    return [{ id: kind, name: kind === "videoinput" ? "HD Webcam" : "Headset" }];
  }
  chosen(kind: string): string | undefined {
    return kind;
  }
  async choose(): Promise<void> {}
}

export function openLine(): CallLine {
  return new DemoLine();
}
