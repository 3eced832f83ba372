/** What a session's budgets say, put together with what is seen of its calls. No drawing is known here. */
import type { Balance, Budgets } from "../types.ts";
import type { CallTotals } from "./model.ts";

/** A model's calls, and what was booked for them; nothing was booked where there is no budget. */
export interface ModelRow extends CallTotals {
  model: string;
  spent?: number;
}

/** The parts of a budget's bar, of 1 together: an overdrawn one is all spent. */
export interface Shares {
  spent: number;
  held: number;
}

/** Spent, of 1, from which on a limit is called low: where the API tells of it. */
const LOW = 0.8;

/**
 * Return the models that were called, those that cost most first. Calls are known by the name of the model, what is booked
 * by `<provider>/<model>`; a booking of a call that is not seen has a row of its own.
 */
export function modelRows(totals: ReadonlyMap<string, CallTotals>, budgets: Budgets | undefined): ModelRow[] {
  const rows = new Map<string, ModelRow>([...totals].map(([model, each]) => [model, { model, ...each }]));
  for (const [key, booked] of Object.entries(budgets?.models ?? {})) {
    const names = [...totals.keys()].filter((name) => key.endsWith(`/${name}`));
    const name = names.sort((one, other) => other.length - one.length)[0];
    const row = name === undefined ? { model: key, failed: 0, ...booked, spent: 0 } : rows.get(name)!;
    rows.set(row.model, { ...row, spent: (row.spent ?? 0) + booked.spent });
  }
  return [...rows.values()].sort(
    (one, other) => (other.spent ?? -1) - (one.spent ?? -1) || other.calls - one.calls || one.model.localeCompare(other.model),
  );
}

/** Return what was booked to any limit, in millionths of a dollar; nothing when there is none. */
export function spentOf(budgets: Budgets | null | undefined): number | undefined {
  if (!budgets || !hasLimit(budgets)) return undefined;
  // A session's limit may be younger than its agents' own, and what was booked before is not counted by it.
  const ofAgents = Object.values(budgets.agents).reduce((sum, each) => sum + each.spent, 0);
  return Math.max(budgets.session?.spent ?? 0, ofAgents);
}

export function hasLimit(budgets: Budgets | null | undefined): boolean {
  return budgets != null && (budgets.session != null || Object.keys(budgets.agents).length > 0);
}

export function sharesOf({ limit, spent, held }: Balance): Shares {
  const all = Math.max(limit, spent + held);
  return all === 0 ? { spent: 1, held: 0 } : { spent: spent / all, held: held / all };
}

/** Say in a word how a budget stands. */
export function standingOf({ limit, spent, available }: Balance): "used up" | "low" | "" {
  if (available <= 0 && spent >= limit) return "used up";
  return spent >= limit * LOW ? "low" : "";
}
