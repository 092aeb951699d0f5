// One short line at the bottom that says what was done or went wrong, and may offer to undo it.
export interface Toast {
  id: number;
  text: string;
  wrong: boolean;
  action?: { label: string; run: () => void };
}

let next = 1;
let timer: ReturnType<typeof setTimeout> | undefined;
export const toasts = $state<{ now: Toast | null }>({ now: null });

export function toast(text: string, more: { wrong?: boolean; action?: Toast["action"]; ms?: number } = {}): void {
  toasts.now = { id: next++, text, wrong: more.wrong ?? false, action: more.action };
  clearTimeout(timer);
  timer = setTimeout(() => (toasts.now = null), more.ms ?? 5000);
}
