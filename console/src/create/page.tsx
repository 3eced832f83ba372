/** A new session: a form made of the registry, and the same as JSON, both ways. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";

import { all, at, get, messageOf, send, urlOf } from "../api.ts";
import { lastNamespace, namespaces, readNamespaces } from "../namespaces.ts";
import { go, place, sessionLink } from "../route.ts";
import type { AgentRequest, AgentState, Budgets, HistoricSession, SessionRequest, SessionState } from "../types.ts";
import { Button, Copy, Empty, Fault, Icon, Tabs, attempt, tell } from "../ui.tsx";
import { AgentForm } from "./agent.tsx";
import { again, agentRequest, curl, emptyDraft, everyone, freeName, namespaceOf, python } from "./draft.ts";
import { Groups } from "./groups.tsx";
import { listed, readAgent, readRegistry } from "./registry.ts";
import { Settings } from "./settings.tsx";
import { exportTemplates, importTemplates, removeTemplate, saveTemplate, templates } from "./templates.ts";

export function NewSession() {
  const { query } = place.value;
  const draft = useSignal<SessionRequest>(emptyDraft(query.get("ns") ?? lastNamespace() ?? "first"));
  const fault = useSignal("");
  const busy = useSignal(false);
  const note = useSignal("");
  const earlier = query.get("again");

  useEffect(() => {
    void readRegistry().catch((error: unknown) => (fault.value = messageOf(error)));
    void readNamespaces().catch(() => undefined);
    const namespace = query.get("ns");
    if (!earlier || !namespace) return;
    void attempt(async () => {
      draft.value = await draftOf(namespace, earlier);
      note.value =
        "Agents, groups and limits are those of the earlier session. Its options are not kept, nor what follows at a limit: look them over.";
    });
  }, [earlier]);
  useEffect(() => {
    const name = query.get("agent");
    const version = query.get("version");
    if (name && version) void attempt(() => addAgent(name, version));
  }, []);

  const change = (next: SessionRequest) => (draft.value = next);
  const graph = draft.value.agentGraphRequest;
  const changeAgents = (agents: AgentRequest[]) => {
    const before = everyone(graph.agents);
    const wasEveryone = JSON.stringify(graph.groups ?? []) === JSON.stringify(before);
    const names = agents.map((agent) => agent.name);
    const renamed = (name: string) => names[graph.agents.findIndex((agent) => agent.name === name)] ?? name;
    const kept = (graph.groups ?? [])
      .map((group) => (agents.length === graph.agents.length ? group.map(renamed) : group))
      .map((group) => group.filter((name) => names.includes(name)));
    const groups = wasEveryone ? everyone(agents) : kept.filter((group) => group.length > 0);
    change({ ...draft.value, agentGraphRequest: { ...graph, agents, groups } });
  };
  const addAgent = async (name: string, version: string) => {
    const agent = await readAgent(name, version);
    const agents = draft.value.agentGraphRequest.agents;
    changeAgents([...agents, agentRequest(agent, freeName(name, agents.map((each) => each.name)))]);
  };
  const create = async () => {
    busy.value = true;
    fault.value = "";
    try {
      const made = await send<{ namespace: string; sessionId: string }>("POST", "api/v1/local/session", draft.value);
      go(sessionLink(made.namespace, made.sessionId));
    } catch (error) {
      fault.value = messageOf(error);
    }
    busy.value = false;
  };

  return (
    <section class="page">
      <div class="title">
        <h1>New session</h1>
        <TemplateBar draft={draft.value} onUse={change} />
      </div>
      {note.value && <p class="note">{note.value}</p>}
      <div class="create">
        <form
          class="fields"
          onSubmit={(event) => {
            event.preventDefault();
            void create();
          }}
        >
          <NamespaceField draft={draft.value} onChange={change} />
          <fieldset class="group">
            <legend>Agents</legend>
            {graph.agents.map((agent, index) => (
              <AgentForm
                key={index}
                index={index}
                agent={agent}
                others={graph.agents.filter((_, other) => other !== index).map((each) => each.name)}
                onChange={(next) => changeAgents(graph.agents.map((each, other) => (other === index ? next : each)))}
                onRemove={() => changeAgents(graph.agents.filter((_, other) => other !== index))}
              />
            ))}
            <AddAgent onAdd={addAgent} isFirst={graph.agents.length === 0} />
          </fieldset>
          {graph.agents.length > 1 && (
            <Groups
              names={graph.agents.map((agent) => agent.name)}
              groups={graph.groups ?? []}
              onChange={(groups) => change({ ...draft.value, agentGraphRequest: { ...graph, groups } })}
            />
          )}
          <Settings draft={draft.value} onChange={change} />
          {fault.value && <Fault text={fault.value} />}
          <div class="submit">
            <Button kind="primary" type="submit" icon="play" disabled={busy.value || graph.agents.length === 0}>
              {busy.value ? "Creating…" : draft.value.execution?.mode === "defer" ? "Create, start later" : "Create and start"}
            </Button>
            {graph.agents.length === 0 && <span class="hint">A session needs an agent.</span>}
          </div>
        </form>
        <Code draft={draft.value} onChange={change} />
      </div>
    </section>
  );
}

async function draftOf(namespace: string, id: string): Promise<SessionRequest> {
  try {
    const path = `api/v1/local/session/${at(namespace, id)}`;
    const state = await get<SessionState>(path);
    const [agents, budgets] = await Promise.all([all<AgentState>(`${path}/agent`), get<Budgets>(`${path}/budget`)]);
    return withRuntimes(again(agents, namespace, state.annotations, budgets));
  } catch {
    const past = await get<HistoricSession>(`api/v1/local/namespace/${at(namespace)}/history/${at(id)}`);
    return withRuntimes(again(past.state.agents as AgentState[], namespace, past.annotations, past.summary.budget));
  }
}

/** Give each agent a runtime that it has. */
async function withRuntimes(draft: SessionRequest): Promise<SessionRequest> {
  const agents = await Promise.all(
    draft.agentGraphRequest.agents.map(async (agent) => {
      try {
        const { provider } = agentRequest(await readAgent(agent.id.name, agent.id.version), agent.name);
        return { ...agent, provider };
      } catch {
        return agent; // it is not in the registry any more; the form says so
      }
    }),
  );
  return { ...draft, agentGraphRequest: { ...draft.agentGraphRequest, agents } };
}

function NamespaceField({ draft, onChange }: { draft: SessionRequest; onChange: (draft: SessionRequest) => void }) {
  const rename = (name: string) =>
    onChange({
      ...draft,
      namespaceProvider: {
        type: "create_if_not_exists",
        namespaceRequest: { name, deleteOnLastSessionExit: true, annotations: {} },
      },
    });
  return (
    <div class="field">
      <label for="namespace">Namespace</label>
      <input
        id="namespace"
        list="namespaces"
        required
        value={namespaceOf(draft)}
        onInput={(event) => rename(event.currentTarget.value)}
      />
      <datalist id="namespaces">
        {namespaces.value?.map((each) => (
          <option key={each.name} value={each.name} />
        ))}
      </datalist>
      <p class="hint">It is made if it is not there, and goes with its last session.</p>
    </div>
  );
}

function AddAgent(props: { onAdd: (name: string, version: string) => Promise<void>; isFirst: boolean }) {
  const agents = listed.value;
  if (agents?.length === 0)
    return (
      <Empty title="The registry is empty">
        <p>
          Add an agent by its <code>coral-agent.toml</code>, under <a href="#/registry">Agents</a>.
        </p>
      </Empty>
    );
  return (
    <div class="add-agent" role="group" aria-label="Add an agent">
      <span>{props.isFirst ? "Choose the first:" : "Add:"}</span>
      {agents?.map(({ name, versions }) => (
        <Button
          key={name}
          icon="plus"
          title={`${name} ${versions.at(-1)}`}
          onClick={() => void attempt(() => props.onAdd(name, versions.at(-1)!))}
        >
          {name}
        </Button>
      ))}
    </div>
  );
}

function Code({ draft, onChange }: { draft: SessionRequest; onChange: (draft: SessionRequest) => void }) {
  const tab = useSignal("json");
  const written = useSignal<string | undefined>(undefined);
  const fault = useSignal("");
  const root = urlOf("").href;
  const text = useMemo(
    () => (tab.value === "curl" ? curl(draft, root) : tab.value === "python" ? python(draft, root) : JSON.stringify(draft, null, 2)),
    [draft, tab.value],
  );
  const write = (value: string) => {
    written.value = value;
    try {
      const next = JSON.parse(value) as SessionRequest;
      if (!Array.isArray(next.agentGraphRequest?.agents)) throw new Error("agentGraphRequest.agents is a list");
      if (namespaceOf(next) === undefined) throw new Error("namespaceProvider names a namespace");
      fault.value = "";
      onChange(next);
    } catch (error) {
      fault.value = messageOf(error);
    }
  };
  return (
    <aside class="code" aria-label="The same as code">
      <header>
        <Tabs
          label="Language"
          chosen={tab.value}
          onChoose={(id) => (tab.value = id)}
          tabs={[
            { id: "json", label: "JSON" },
            { id: "curl", label: "curl" },
            { id: "python", label: "Python" },
          ]}
        />
        <Copy text={text} />
      </header>
      {tab.value === "json" ? (
        <>
          <textarea
            aria-label="The request as JSON"
            aria-invalid={fault.value !== ""}
            spellcheck={false}
            value={written.value ?? text}
            onInput={(event) => write(event.currentTarget.value)}
            onBlur={() => {
              if (!fault.value) written.value = undefined;
            }}
          />
          {fault.value && (
            <p class="bad" role="alert">
              {fault.value}{" "}
              <Button kind="quiet" onClick={() => ((written.value = undefined), (fault.value = ""))}>
                Undo
              </Button>
            </p>
          )}
        </>
      ) : (
        <pre tabIndex={0}>{text}</pre>
      )}
    </aside>
  );
}

function TemplateBar({ draft, onUse }: { draft: SessionRequest; onUse: (draft: SessionRequest) => void }) {
  const name = useSignal("");
  const names = Object.keys(templates.value).sort();
  return (
    <details class="menu">
      <summary class="button">
        <Icon name="book" /> Templates
      </summary>
      <div class="menu-body">
        {names.length === 0 && <p class="hint">None yet. They are kept in this browser.</p>}
        <ul>
          {names.map((each) => (
            <li key={each}>
              <button type="button" class="button quiet" onClick={() => onUse(templates.value[each]!)}>
                {each}
              </button>
              <Button kind="quiet" icon="trash" aria-label={`Delete ${each}`} onClick={() => removeTemplate(each)} />
            </li>
          ))}
        </ul>
        <form
          class="inline"
          onSubmit={(event) => {
            event.preventDefault();
            saveTemplate(name.value, draft);
            tell(`Saved as ${name.value}.`);
            name.value = "";
          }}
        >
          <input
            aria-label="Name of the template"
            placeholder="Save this as…"
            value={name.value}
            onInput={(event) => (name.value = event.currentTarget.value)}
          />
          <Button type="submit" disabled={!name.value}>
            Save
          </Button>
        </form>
        <div class="inline">
          <Button disabled={names.length === 0} onClick={exportTemplates}>
            Export
          </Button>
          <label class="button">
            Import
            <input
              type="file"
              class="hidden"
              accept="application/json"
              onChange={(event) => {
                const file = event.currentTarget.files?.[0];
                if (file) void attempt(async () => tell(`${await importTemplates(file)} templates are added.`));
                event.currentTarget.value = "";
              }}
            />
          </label>
        </div>
      </div>
    </details>
  );
}
