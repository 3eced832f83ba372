/** How a new session runs and ends. */
import { useSignal } from "@preact/signals";

import type { SessionRequest } from "../types.ts";
import { Button } from "../ui.tsx";
import { BudgetFields } from "./budget.tsx";
import { hasBudget, withField } from "./draft.ts";

type Webhooks = { sessionEnd?: { url: string } | null; budgetReached?: { url: string } | null };

interface Runtime {
  ttl?: number | null;
  extendedEndReport?: boolean;
  persistenceMode?: { mode: string; duration?: number; time?: number };
  webhooks?: Webhooks;
}

export function Settings({ draft, onChange }: { draft: SessionRequest; onChange: (draft: SessionRequest) => void }) {
  const execution = draft.execution ?? { mode: "immediate" };
  const runtime = (execution.mode === "immediate" ? (execution.runtimeSettings ?? {}) : {}) as Runtime;
  const set = (changes: Runtime) =>
    onChange({
      ...draft,
      execution: { mode: "immediate", runtimeSettings: { ...runtime, ...changes } },
    } as SessionRequest);
  const webhooks = runtime.webhooks ?? {};
  const setWebhook = (name: keyof Webhooks, url: string) =>
    set({ webhooks: withField(webhooks, name, url ? { url } : undefined) });
  const graph = draft.agentGraphRequest;
  const persistence = runtime.persistenceMode ?? { mode: "none" };
  const heldMs = persistence.duration ?? persistence.time ?? 60_000;
  const hold = (mode: string, ms: number) =>
    set({
      persistenceMode:
        mode === "hold_after_exit" ? { mode, duration: ms } : mode === "minimum_time" ? { mode, time: ms } : { mode },
    });
  return (
    <fieldset class="group">
      <legend>How it runs</legend>
      <BudgetFields
        id="budget"
        label="Limit of the session"
        placeholder="no limit"
        budget={graph.budget}
        onChange={(budget) => onChange({ ...draft, agentGraphRequest: withField(graph, "budget", budget) })}
      />
      <label class="toggle">
        <input
          type="checkbox"
          checked={execution.mode === "defer"}
          onChange={(event) =>
            event.currentTarget.checked ? onChange({ ...draft, execution: { mode: "defer" } }) : set({ ttl: 600_000 })
          }
        />
        start later, when I say so
      </label>
      {execution.mode === "immediate" && (
        <>
          <div class="field-row">
            <Seconds label="Ends at the latest after" id="ttl" ms={runtime.ttl ?? undefined} onChange={(ttl) => set({ ttl: ttl ?? null })} />
            <div class="field">
              <label for="persistence">Readable after its end</label>
              <select id="persistence" value={persistence.mode} onChange={(event) => hold(event.currentTarget.value, heldMs)}>
                <option value="none">not held: in the history only</option>
                <option value="hold_after_exit">held for a time</option>
                <option value="minimum_time">held until it has existed for a time</option>
              </select>
            </div>
            {persistence.mode !== "none" && (
              <Seconds label="Held for" id="hold" ms={heldMs} onChange={(ms) => hold(persistence.mode, ms ?? 0)} />
            )}
          </div>
          <div class="field">
            <label for="webhook">Webhook for the end report</label>
            <input
              id="webhook"
              type="url"
              placeholder="https://…"
              value={webhooks.sessionEnd?.url ?? ""}
              onInput={(event) => setWebhook("sessionEnd", event.currentTarget.value)}
            />
          </div>
          {webhooks.sessionEnd && (
            <label class="toggle">
              <input
                type="checkbox"
                checked={runtime.extendedEndReport ?? false}
                onChange={(event) => set({ extendedEndReport: event.currentTarget.checked })}
              />
              with agents, threads and messages
            </label>
          )}
          {(hasBudget(draft) || webhooks.budgetReached) && (
            <div class="field">
              <label for="budget-webhook">Webhook for budgets that are low or reached</label>
              <input
                id="budget-webhook"
                type="url"
                placeholder="https://…"
                value={webhooks.budgetReached?.url ?? ""}
                onInput={(event) => setWebhook("budgetReached", event.currentTarget.value)}
              />
            </div>
          )}
        </>
      )}
      <AnnotationsField of={draft.annotations ?? {}} onChange={(annotations) => onChange({ ...draft, annotations })} />
    </fieldset>
  );
}

function Seconds(props: { label: string; id: string; ms: number | undefined; onChange: (ms: number | undefined) => void }) {
  return (
    <div class="field">
      <label for={props.id}>
        {props.label} <small>seconds</small>
      </label>
      <input
        id={props.id}
        type="number"
        min="0"
        step="any"
        placeholder="no limit"
        value={props.ms === undefined ? "" : props.ms / 1_000}
        onInput={(event) => {
          const text = event.currentTarget.value;
          props.onChange(text === "" ? undefined : Math.round(Number(text) * 1_000));
        }}
      />
    </div>
  );
}

function AnnotationsField(props: { of: Record<string, string>; onChange: (of: Record<string, string>) => void }) {
  const key = useSignal("");
  const value = useSignal("");
  const add = () => {
    if (!key.value) return;
    props.onChange({ ...props.of, [key.value]: value.value });
    key.value = value.value = "";
  };
  return (
    <div class="field">
      <span class="label">Annotations</span>
      <div class="chips">
        {Object.entries(props.of).map(([name, text]) => (
          <span key={name} class="chip">
            <em>{name}</em> {text}
            <button
              type="button"
              aria-label={`Remove ${name}`}
              onClick={() => props.onChange(Object.fromEntries(Object.entries(props.of).filter(([each]) => each !== name)))}
            >
              ×
            </button>
          </span>
        ))}
      </div>
      <div class="inline">
        <input aria-label="Key" placeholder="key" value={key.value} onInput={(event) => (key.value = event.currentTarget.value)} />
        <input
          aria-label="Value"
          placeholder="value"
          value={value.value}
          onInput={(event) => (value.value = event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== "Enter") return;
            event.preventDefault();
            add();
          }}
        />
        <Button disabled={!key.value} onClick={add}>
          Add
        </Button>
      </div>
    </div>
  );
}
