/** The registry as forms need it: which agents there are, and each in full once it was asked for. */
import { signal } from "@preact/signals";

import { at, get } from "../api.ts";
import type { RegistryAgent, Source } from "../types.ts";

export interface Listed {
  name: string;
  versions: string[];
}

export const listed = signal<Listed[] | undefined>(undefined);
export const known = signal<ReadonlyMap<string, RegistryAgent>>(new Map());

export const keyOf = (name: string, version: string) => `${name}\n${version}`;

export async function readRegistry(): Promise<void> {
  const sources = await get<Source[]>("api/v1/registry");
  const local = sources.find((source) => source.identifier.type === "local");
  listed.value = [...(local?.agents ?? [])].sort((one, other) => one.name.localeCompare(other.name));
}

export async function readAgent(name: string, version: string): Promise<RegistryAgent> {
  const answer = await get<{ registryAgent: RegistryAgent }>(`api/v1/registry/local/${at(name, version)}`);
  known.value = new Map(known.value).set(keyOf(name, version), answer.registryAgent);
  return answer.registryAgent;
}
