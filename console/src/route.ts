/** Where one is: the part of the address behind the `#`, so that every place has a link and survives a reload. */
import { computed, signal } from "@preact/signals";

const hash = signal(location.hash);
window.addEventListener("hashchange", () => (hash.value = location.hash));

export interface Place {
  parts: string[];
  query: URLSearchParams;
}

export const place = computed<Place>(() => {
  const [path = "", query = ""] = hash.value.replace(/^#\/?/, "").split("?", 2);
  return { parts: path.split("/").filter(Boolean).map(decoded), query: new URLSearchParams(query) };
});

function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

export function link(parts: string[], query: Record<string, string | undefined> = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value) search.set(name, value);
  const text = search.toString();
  return `#/${parts.map(encodeURIComponent).join("/")}${text ? `?${text}` : ""}`;
}

export function go(target: string): void {
  location.hash = target;
}

/** Change parts of the query where one is, without a step in the browser's history. */
export function refine(changes: Record<string, string | undefined>): void {
  const { parts, query } = place.value;
  const next = { ...Object.fromEntries(query), ...changes };
  history.replaceState(null, "", new URL(link(parts, next), document.baseURI));
  hash.value = location.hash;
}

export const sessionLink = (namespace: string, id: string, query?: Record<string, string | undefined>) =>
  link(["ns", namespace, "session", id], query);
export const namespaceLink = (namespace: string, query?: Record<string, string | undefined>) =>
  link(["ns", namespace], query);
