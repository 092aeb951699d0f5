// BlurHash (github.com/woltapp/blurhash, its public description): a few colours that stand for a picture.
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~";

const toLinear = (v: number) => ((v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const toByte = (v: number) => {
  const c = Math.max(0, Math.min(1, v));
  return Math.round((c <= 0.0031308 ? c * 12.92 : 1.055 * c ** (1 / 2.4) - 0.055) * 255);
};
const signPow = (v: number, e: number) => Math.sign(v) * Math.abs(v) ** e;

function read(text: string): number {
  let value = 0;
  for (const digit of text) value = value * 83 + DIGITS.indexOf(digit);
  return value;
}

function write(value: number, length: number): string {
  let text = "";
  for (let i = length - 1; i >= 0; i--) text += DIGITS[Math.floor(value / 83 ** i) % 83];
  return text;
}

/** The pixels (RGBA) of a hash; `undefined` for what is none. */
export function decode(hash: string, width: number, height: number): Uint8ClampedArray<ArrayBuffer> | undefined {
  if (hash.length < 6 || [...hash].some((digit) => !DIGITS.includes(digit))) return;
  const size = read(hash[0]!);
  const across = (size % 9) + 1;
  const down = Math.floor(size / 9) + 1;
  if (hash.length !== 4 + 2 * across * down) return;
  const most = (read(hash[1]!) + 1) / 166;
  const colours: [number, number, number][] = [];
  for (let i = 0; i < across * down; i++) {
    if (i === 0) {
      const dc = read(hash.slice(2, 6));
      colours.push([toLinear(dc >> 16), toLinear((dc >> 8) & 255), toLinear(dc & 255)]);
    } else {
      const ac = read(hash.slice(4 + i * 2, 6 + i * 2));
      const part = (v: number) => signPow((v - 9) / 9, 2) * most;
      colours.push([part(Math.floor(ac / 361)), part(Math.floor(ac / 19) % 19), part(ac % 19)]);
    }
  }
  const pixels = new Uint8ClampedArray(width * height * 4);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      let [r, g, b] = [0, 0, 0];
      for (let j = 0; j < down; j++)
        for (let i = 0; i < across; i++) {
          const basis = Math.cos((Math.PI * x * i) / width) * Math.cos((Math.PI * y * j) / height);
          const colour = colours[i + j * across]!;
          r += colour[0] * basis;
          g += colour[1] * basis;
          b += colour[2] * basis;
        }
      pixels.set([toByte(r), toByte(g), toByte(b), 255], 4 * (x + y * width));
    }
  return pixels;
}

/** The hash of pixels (RGBA), 4 × 3 parts. Give it a small picture: the cost is its area. */
export function encode(pixels: Uint8ClampedArray, width: number, height: number): string {
  const factors: [number, number, number][] = [];
  for (let j = 0; j < 3; j++)
    for (let i = 0; i < 4; i++) {
      let [r, g, b] = [0, 0, 0];
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) {
          const basis = Math.cos((Math.PI * i * x) / width) * Math.cos((Math.PI * j * y) / height);
          const at = 4 * (x + y * width);
          r += basis * toLinear(pixels[at]!);
          g += basis * toLinear(pixels[at + 1]!);
          b += basis * toLinear(pixels[at + 2]!);
        }
      const scale = (i || j ? 2 : 1) / (width * height);
      factors.push([r * scale, g * scale, b * scale]);
    }
  const [dc, ...ac] = factors;
  const most = Math.max(...ac.flat().map(Math.abs));
  const step = Math.max(0, Math.min(82, Math.floor(most * 166 - 0.5)));
  const part = (v: number) => Math.max(0, Math.min(18, Math.floor(signPow(v / ((step + 1) / 166), 0.5) * 9 + 9.5)));
  let hash = write(3 + 2 * 9, 1) + write(step, 1);
  hash += write((toByte(dc![0]) << 16) + (toByte(dc![1]) << 8) + toByte(dc![2]), 4);
  for (const [r, g, b] of ac) hash += write(part(r) * 361 + part(g) * 19 + part(b), 2);
  return hash;
}
