/** The namespaces that the key reaches and that are there, and the one that was looked at last. */
import { signal } from "@preact/signals";

import { all } from "./api.ts";
import type { NamespaceState } from "./types.ts";

const KEY = "atoll.namespaces";
const MOST_REMEMBERED = 8;

export const namespaces = signal<NamespaceState[] | undefined>(undefined);

export async function readNamespaces(): Promise<void> {
  const found = await all<NamespaceState>("api/v1/local/namespace");
  namespaces.value = found.sort((one, other) => one.name.localeCompare(other.name));
}

/** The namespaces that were looked at, the latest first: some may be gone, and have a history. */
export function visited(): string[] {
  try {
    const found: unknown = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(found) ? found.map(String) : [];
  } catch {
    return [];
  }
}

export function lastNamespace(): string | undefined {
  return visited()[0] ?? namespaces.value?.[0]?.name;
}

export function visit(namespace: string): void {
  const others = visited().filter((name) => name !== namespace);
  localStorage.setItem(KEY, JSON.stringify([namespace, ...others].slice(0, MOST_REMEMBERED)));
}
