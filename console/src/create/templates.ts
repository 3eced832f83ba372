/** Requests that are kept in this browser under a name, to be used again and given away. */
import { signal } from "@preact/signals";

import type { SessionRequest } from "../types.ts";

const KEY = "atoll.templates";

export type Templates = Record<string, SessionRequest>;

export const templates = signal<Templates>(stored());

function stored(): Templates {
  try {
    return JSON.parse(localStorage.getItem(KEY) ?? "{}") as Templates;
  } catch {
    return {};
  }
}

function keep(next: Templates): void {
  templates.value = next;
  localStorage.setItem(KEY, JSON.stringify(next));
}

export function saveTemplate(name: string, draft: SessionRequest): void {
  keep({ ...templates.value, [name]: draft });
}

export function removeTemplate(name: string): void {
  keep(Object.fromEntries(Object.entries(templates.value).filter(([each]) => each !== name)));
}

/** Add the templates of a file; raises an error for one that is none. */
export async function importTemplates(file: File): Promise<number> {
  const found = JSON.parse(await file.text()) as Templates;
  const good = Object.entries(found).filter(([, draft]) => Array.isArray(draft?.agentGraphRequest?.agents));
  if (!good.length) throw new Error(`${file.name} has no templates`);
  keep({ ...templates.value, ...Object.fromEntries(good) });
  return good.length;
}

export function exportTemplates(): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(templates.value, null, 2)], { type: "application/json" }));
  link.download = "atoll-templates.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1_000);
}
