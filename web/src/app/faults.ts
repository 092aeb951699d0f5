// What went wrong, in words.
import type { FaultCode } from "../engine/types.ts";
import { faultOf } from "../models/session.svelte.ts";
import { toast } from "../ui/toast.svelte.ts";
import * as m from "../words/messages.js";

const SAID: Record<FaultCode, () => string> = {
  offline: m.fault_offline,
  busy: m.fault_busy,
  "wrong-password": m.fault_wrong_password,
  "second-factor": m.fault_second_factor,
  "name-taken": m.fault_name_taken,
  "bad-name": m.fault_bad_name,
  "weak-password": m.fault_weak_password,
  "bad-invite": m.fault_bad_invite,
  "registration-closed": m.fault_registration_closed,
  locked: m.fault_locked,
  suspended: m.fault_suspended,
  "signed-out": m.fault_signed_out,
  forbidden: m.fault_forbidden,
  "not-found": m.fault_not_found,
  "too-large": m.fault_too_large,
  "over-quota": m.fault_over_quota,
  "bad-key": m.fault_bad_key,
  "no-recovery": m.fault_no_recovery,
  "crypto-loading": m.fault_crypto_loading,
  "storage-full": m.fault_storage_full,
  cancelled: m.fault_cancelled,
  "bad-input": m.fault_bad_input,
  server: m.fault_server,
  bug: m.fault_bug,
};

export function faultWords(error: unknown): string {
  const fault = faultOf(error);
  if (fault.code === "bug") console.error(error);
  return (SAID[fault.code] ?? m.fault_bug)();
}

/** Runs a deed; where it fails, says so. True if it went well. */
export async function doing(deed: () => Promise<unknown>): Promise<boolean> {
  try {
    await deed();
    return true;
  } catch (error) {
    if (faultOf(error).code !== "cancelled") toast(faultWords(error), { wrong: true });
    return false;
  }
}
