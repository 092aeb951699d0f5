/** Which of the twelve tints a person or room has: always the same for an id. */
export function tint(id: string): number {
  let hash = 7;
  for (let i = 0; i < id.length; i++) hash = (hash * 31 + id.charCodeAt(i)) | 0;
  return Math.abs(hash) % 12;
}
