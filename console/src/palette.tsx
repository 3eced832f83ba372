/** Ctrl-K: go anywhere, and do what is often done, without the mouse. */
import { signal, useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { ApiError, all, at, signOut } from "./api.ts";
import { listed, readRegistry } from "./create/registry.ts";
import { lastNamespace, namespaces } from "./namespaces.ts";
import { go, link, namespaceLink, place, sessionLink } from "./route.ts";
import { toggleTheme } from "./theme.ts";
import type { SessionState } from "./types.ts";
import { Dialog, attempt } from "./ui.tsx";

export const paletteIsOpen = signal(false);
export const openPalette = () => (paletteIsOpen.value = true);

interface Choice {
  label: string;
  kind: string;
  act: () => void;
}

const MOST_SHOWN = 12;

export function Palette() {
  const search = useSignal("");
  const chosen = useSignal(0);
  const sessions = useSignal<SessionState[]>([]);
  const namespace = (place.value.parts[0] === "ns" && place.value.parts[1]) || lastNamespace();
  useEffect(() => {
    if (!listed.value) void readRegistry().catch(() => undefined);
    if (namespace)
      all<SessionState>(`api/v1/local/namespace/${at(namespace)}`).then(
        (found) => (sessions.value = found),
        (error: unknown) => {
          if (!(error instanceof ApiError)) throw error;
        },
      );
  }, []);
  const close = () => (paletteIsOpen.value = false);
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
  const found = choices(namespace, sessions.value)
    .filter((each) => words.every((word) => `${each.kind} ${each.label}`.toLowerCase().includes(word)))
    .slice(0, MOST_SHOWN);
  const act = (choice: Choice | undefined) => {
    if (!choice) return;
    close();
    choice.act();
  };
  const onKeyDown = (event: KeyboardEvent) => {
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (step && found.length) {
      event.preventDefault();
      chosen.value = (chosen.value + step + found.length) % found.length;
    } else if (event.key === "Enter") {
      event.preventDefault();
      act(found[chosen.value]);
    }
  };
  return (
    <Dialog title="Go to…" onClose={close}>
      <div class="palette">
        <input
          role="combobox"
          aria-label="Go to"
          aria-expanded="true"
          aria-controls="choices"
          aria-activedescendant={found.length ? `choice-${chosen.value}` : undefined}
          autofocus
          placeholder="A session, a namespace, an agent, an action"
          value={search.value}
          onInput={(event) => {
            search.value = event.currentTarget.value;
            chosen.value = 0;
          }}
          onKeyDown={onKeyDown}
        />
        <ul id="choices" role="listbox" aria-label="Choices">
          {found.map((choice, index) => (
            <li
              key={`${choice.kind} ${choice.label}`}
              id={`choice-${index}`}
              role="option"
              aria-selected={index === chosen.value}
              onClick={() => act(choice)}
              onPointerMove={() => (chosen.value = index)}
            >
              <span>{choice.label}</span>
              <small>{choice.kind}</small>
            </li>
          ))}
        </ul>
        {found.length === 0 && <p class="hint">Nothing is called that.</p>}
      </div>
    </Dialog>
  );
}

function choices(namespace: string | undefined, sessions: SessionState[]): Choice[] {
  const to = (target: string) => () => go(target);
  return [
    { label: "New session", kind: "do", act: to(link(["new"], { ns: namespace })) },
    { label: "Agents", kind: "page", act: to(link(["registry"])) },
    { label: "Namespaces", kind: "page", act: to(link([])) },
    ...(namespace
      ? [{ label: `History of ${namespace}`, kind: "page", act: to(namespaceLink(namespace, { tab: "history" })) }]
      : []),
    ...(namespaces.value ?? []).map(({ name }) => ({ label: name, kind: "namespace", act: to(namespaceLink(name)) })),
    ...sessions
      .sort((one, other) => other.timestamp.localeCompare(one.timestamp))
      .map((each) => ({
        label: [each.id.slice(0, 8), ...Object.values(each.annotations)].join(" "),
        kind: "session",
        act: to(sessionLink(each.namespace, each.id)),
      })),
    ...(listed.value ?? []).map(({ name, versions }) => ({
      label: name,
      kind: "agent",
      act: to(link(["registry", name, versions.at(-1)!])),
    })),
    { label: "Light or dark", kind: "do", act: toggleTheme },
    { label: "Sign out", kind: "do", act: () => void attempt(signOut) },
  ];
}
