// What is done to a picture, video or file before it is sent: made small on the device, its colours
// for the time before it has come, its size and length.
import type { FileToSend } from "../../engine/types.ts";
import { encode } from "./blurhash.ts";

const SIDE = 1600; // px of the longer side; 3 MB of photo become about 200 kB
const SAVER_SIDE = 1100;
const THUMB = 320;

async function drawn(source: ImageBitmap | HTMLVideoElement, width: number, height: number, most: number): Promise<HTMLCanvasElement> {
  const scale = Math.min(1, most / Math.max(width, height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width * scale));
  canvas.height = Math.max(1, Math.round(height * scale));
  const context = canvas.getContext("2d")!;
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  return canvas;
}

function toBlob(canvas: HTMLCanvasElement, quality: number): Promise<Blob> {
  return new Promise((done, failed) =>
    canvas.toBlob((blob) => (blob ? done(blob) : failed(new Error("no picture"))), "image/webp", quality),
  );
}

function hash(canvas: HTMLCanvasElement): string {
  const small = document.createElement("canvas");
  small.width = small.height = 32;
  const context = small.getContext("2d")!;
  context.drawImage(canvas, 0, 0, 32, 32);
  return encode(context.getImageData(0, 0, 32, 32).data, 32, 32);
}

/** A picture made small. What is small already, or moves, stays as it is. */
async function picture(file: File, saver: boolean): Promise<FileToSend> {
  const bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  const { width, height } = bitmap;
  const canvas = await drawn(bitmap, width, height, saver ? SAVER_SIDE : SIDE);
  const small = await drawn(bitmap, width, height, THUMB);
  bitmap.close();
  const moves = file.type === "image/gif" || file.type === "image/svg+xml";
  let blob: Blob = file;
  let quality = saver ? 0.6 : 0.78;
  if (!moves) {
    blob = await toBlob(canvas, quality);
    while (blob.size > 200_000 && quality > 0.45) blob = await toBlob(canvas, (quality -= 0.11));
    if (blob.size >= file.size) blob = file;
  }
  const shrunk = blob !== file;
  const thumb = await toBlob(small, 0.7);
  return {
    blob,
    name: shrunk ? file.name.replace(/\.[^.]*$/, "") + (blob.type === "image/webp" ? ".webp" : ".png") : file.name,
    mime: blob.type || file.type,
    kind: "image",
    width: shrunk ? canvas.width : width,
    height: shrunk ? canvas.height : height,
    blurhash: hash(small),
    thumb: blob.size > 60_000 ? { blob: thumb, width: small.width, height: small.height, mime: thumb.type } : undefined,
  };
}

async function video(file: File): Promise<FileToSend> {
  const url = URL.createObjectURL(file);
  const node = document.createElement("video");
  node.muted = true;
  node.preload = "auto";
  node.src = url;
  try {
    await new Promise<void>((done, failed) => {
      node.onloadeddata = () => done();
      node.onerror = () => failed(new Error("no video"));
    });
    const canvas = await drawn(node, node.videoWidth, node.videoHeight, THUMB);
    const thumb = await toBlob(canvas, 0.7);
    return {
      blob: file, name: file.name, mime: file.type, kind: "video", width: node.videoWidth, height: node.videoHeight,
      durationMs: Math.round(node.duration * 1000), blurhash: hash(canvas),
      thumb: { blob: thumb, width: canvas.width, height: canvas.height, mime: thumb.type },
    };
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** A file as it is sent. What cannot be read as a picture or video goes as a file. */
export async function prepare(file: File, saver: boolean): Promise<FileToSend> {
  try {
    if (/^image\/(png|jpeg|webp|gif|avif|bmp)$/.test(file.type)) return await picture(file, saver);
    if (file.type.startsWith("video/")) return await video(file);
  } catch {
    // as a file, then
  }
  return { blob: file, name: file.name || "file", mime: file.type || "application/octet-stream", kind: file.type.startsWith("audio/") ? "audio" : "file" };
}
