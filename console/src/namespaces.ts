/** The namespaces that the key reaches and that are there, and the one that was looked at last. */
import { signal } from "@preact/signals";

import { all } from "./api.ts";
import type { NamespaceState } from "./types.ts";

const KEY = "atoll.namespace";

export const namespaces = signal<NamespaceState[] | undefined>(undefined);

export async function readNamespaces(): Promise<void> {
  const found = await all<NamespaceState>("api/v1/local/namespace");
  namespaces.value = found.sort((one, other) => one.name.localeCompare(other.name));
}

export function lastNamespace(): string | undefined {
  const last = localStorage.getItem(KEY) ?? undefined;
  return last ?? namespaces.value?.[0]?.name;
}

export function visit(namespace: string): void {
  localStorage.setItem(KEY, namespace);
}
