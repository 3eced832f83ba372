/** The sessions of a namespace: those that are there, live, and those that have ended. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useMemo } from "preact/hooks";

import { ApiError, all, at, messageOf, page } from "./api.ts";
import { type Liveness, follow } from "./live.ts";
import { namespaces, readNamespaces, visit } from "./namespaces.ts";
import { go, link, namespaceLink, place, refine, sessionLink } from "./route.ts";
import { dollars } from "./money.ts";
import { spentOf } from "./session/spending.ts";
import { duration } from "./time.ts";
import type { AgentState, HistoryEntry, SessionState } from "./types.ts";
import { Ago, Annotations, Avatar, Button, Empty, Fault, Icon, State, Tabs, VirtualList } from "./ui.tsx";

const ROW_PX = 60;

export function Sessions({ namespace }: { namespace: string }) {
  const tab = place.value.query.get("tab") === "history" ? "history" : "running";
  useEffect(() => {
    visit(namespace);
    void readNamespaces().catch(() => undefined);
  }, [namespace]);
  return (
    <section class="page">
      <div class="title">
        <Switcher namespace={namespace} />
        <Tabs
          label="Sessions"
          tabs={[
            { id: "running", label: "Running" },
            { id: "history", label: "History" },
          ]}
          chosen={tab}
          onChoose={(id) => refine({ tab: id === "running" ? undefined : id })}
        />
      </div>
      {tab === "running" ? <Running namespace={namespace} /> : <Ended namespace={namespace} />}
    </section>
  );
}

function Switcher({ namespace }: { namespace: string }) {
  const names = (namespaces.value ?? []).map((each) => each.name);
  if (!names.includes(namespace)) names.unshift(namespace);
  return (
    <h1 class="switcher">
      <span>{namespace}</span>
      <Icon name="down" />
      <select aria-label="Namespace" value={namespace} onChange={(event) => go(namespaceLink(event.currentTarget.value))}>
        {names.map((name) => (
          <option key={name}>{name}</option>
        ))}
      </select>
    </h1>
  );
}

const STATUSES = [
  ["", "any state"],
  ["executed", "running"],
  ["pending_execution", "pending"],
  ["closing", "closing"],
] as const;

export function LiveNotice({ liveness }: { liveness: Liveness }) {
  if (liveness === "over") return null;
  const words = { connecting: "connecting", live: "live", asking: "not live: asking every few seconds" };
  return (
    <span class={`liveness ${liveness}`} role="status">
      <i aria-hidden="true" />
      {words[liveness]}
    </span>
  );
}

function Running({ namespace }: { namespace: string }) {
  const sessions = useSignal<Map<string, SessionState> | undefined>(undefined);
  const fault = useSignal("");
  const liveness = useSignal<Liveness>("connecting");
  const { query } = place.value;
  const [search, status] = [query.get("q") ?? "", query.get("status") ?? ""];
  const agents = useMemo(() => new AgentCache(namespace), [namespace]);

  const read = async () => {
    try {
      const found = await all<SessionState>(`api/v1/local/namespace/${at(namespace)}`);
      sessions.value = new Map(found.map((session) => [session.id, session]));
      fault.value = "";
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) sessions.value = new Map();
      else fault.value = messageOf(error);
    }
  };
  useEffect(() => {
    // The socket first, then the listing: what happens between the two is told, and nothing is read twice.
    return follow({
      path: () => "ws/v1/events/lsm",
      query: () => ({ namespaceFilter: namespace }),
      onFrame: (frame) => {
        const state = (frame["initialSessionState"] ?? frame["sessionState"] ?? frame["finalSessionState"]) as
          | SessionState
          | undefined;
        if (!state || !sessions.value) return;
        const next = new Map(sessions.value);
        if (frame["type"] === "session_closed") next.delete(state.id);
        else next.set(state.id, state);
        agents.forget(state.id);
        sessions.value = next;
      },
      onLiveness: (value) => {
        if (value === "live" || (value === "asking" && !sessions.value)) void read();
        liveness.value = value;
      },
      ask: read,
    });
  }, [namespace]);

  const shown = filtered(sessions.value, search, status);
  if (fault.value) return <Fault text={fault.value} onRetry={() => void read()} />;
  if (!sessions.value) return <p class="loading">Reading sessions…</p>;
  return (
    <>
      <Filters what="sessions" choice={{ name: "status", label: "State", options: STATUSES }}>
        <span class="count">
          {shown.length.toLocaleString("en")} of {sessions.value.size.toLocaleString("en")}
        </span>
        <LiveNotice liveness={liveness.value} />
      </Filters>
      {sessions.value.size === 0 ? (
        <Empty title="Nothing runs here now">
          <p>
            What has ended is in the <a href={namespaceLink(namespace, { tab: "history" })}>history</a>.
          </p>
          <a class="button primary" href={link(["new"], { ns: namespace })}>
            <Icon name="plus" /> New session
          </a>
        </Empty>
      ) : shown.length === 0 ? (
        <Empty title="No session is like that">
          <Button onClick={() => refine({ q: undefined, status: undefined })}>Show all</Button>
        </Empty>
      ) : (
        <VirtualList
          label="Sessions"
          class="table"
          most="calc(100vh - 230px)"
          items={shown}
          rowPx={ROW_PX}
          render={(session) => <SessionRow key={session.id} session={session} agents={agents} />}
        />
      )}
    </>
  );
}

/** What a listing of sessions is narrowed by: words, and one of some values. Both are part of the link. */
function Filters(props: {
  what: string;
  choice: { name: string; label: string; options: readonly (readonly [value: string, label: string])[] };
  children: ComponentChildren;
}) {
  const { what, choice } = props;
  const { query } = place.value;
  return (
    <div class="filters">
      <input
        type="search"
        aria-label={`Search ${what}`}
        placeholder="Search by id or annotation"
        value={query.get("q") ?? ""}
        onInput={(event) => refine({ q: event.currentTarget.value })}
      />
      <select
        aria-label={choice.label}
        value={query.get(choice.name) ?? ""}
        onChange={(event) => refine({ [choice.name]: event.currentTarget.value })}
      >
        {choice.options.map(([value, label]) => (
          <option key={value} value={value}>
            {label}
          </option>
        ))}
      </select>
      {props.children}
    </div>
  );
}

/** Say whether a session has the words that are searched for, in its id or its annotations. */
function hasWords(id: string, annotations: Record<string, string>, search: string): boolean {
  return !search || `${id} ${Object.entries(annotations).flat().join(" ")}`.toLowerCase().includes(search.toLowerCase());
}

function filtered(sessions: Map<string, SessionState> | undefined, search: string, status: string): SessionState[] {
  return [...(sessions?.values() ?? [])]
    .filter((session) => !status || session.status.type === status)
    .filter((session) => hasWords(session.id, session.annotations, search))
    .sort((one, other) => other.timestamp.localeCompare(one.timestamp));
}

/** The agents of the sessions in sight, asked for as they come into it, some at a time. */
class AgentCache {
  readonly #found = new Map<string, Promise<AgentState[]>>();
  #open = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(readonly namespace: string) {}

  of(id: string): Promise<AgentState[]> {
    const found = this.#found.get(id) ?? this.#ask(id);
    this.#found.set(id, found);
    return found;
  }

  forget(id: string): void {
    this.#found.delete(id);
  }

  async #ask(id: string): Promise<AgentState[]> {
    if (this.#open >= 4) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#open++;
    try {
      return await all<AgentState>(`api/v1/local/session/${at(this.namespace, id)}/agent`);
    } catch {
      return [];
    } finally {
      this.#open--;
      this.#waiting.shift()?.();
    }
  }
}

function SessionRow({ session, agents }: { session: SessionState; agents: AgentCache }) {
  const found = useSignal<AgentState[]>([]);
  useEffect(() => {
    let gone = false;
    const show = () => void agents.of(session.id).then((value) => !gone && (found.value = value));
    show();
    // Nothing tells of the agents of all sessions: those in sight are asked for now and then.
    const timer = setInterval(() => (agents.forget(session.id), show()), 10_000);
    return () => {
      gone = true;
      clearInterval(timer);
    };
  }, [session]);
  const tokens = tokensIn(found.value);
  return (
    <a class="row" href={sessionLink(session.namespace, session.id)}>
      <State of={session.status.type} />
      <code class="id">{session.id.slice(0, 8)}</code>
      <span class="crew">
        {found.value.slice(0, 6).map((agent) => (
          <span class={`mate mate-${doing(agent)}`} title={`${agent.name}: ${doing(agent)}`}>
            <Avatar name={agent.name} />
            {agent.name}
          </span>
        ))}
        {found.value.length > 6 && <small>and {found.value.length - 6} more</small>}
        {tokens > 0 && <small>{tokens.toLocaleString("en")} tokens</small>}
      </span>
      <Annotations of={session.annotations} />
      <span class="when">
        <Ago at={session.timestamp} />
      </span>
    </a>
  );
}

/** Count the tokens that agents took of their models. */
function tokensIn(agents: AgentState[]): number {
  const all = agents.flatMap((agent) => Object.values(agent.tokensByModel));
  return all.reduce((sum, each) => sum + each.inputTokens + each.outputTokens, 0);
}

/** What an agent does, in a word. */
export function doing(agent: AgentState): string {
  const { status } = agent;
  if (status.type !== "running") return status.type === "waiting" ? "to start" : "stopped";
  if (status.connectionStatus.type === "not_connected") return "starting";
  return status.connectionStatus.communicationStatus.type === "waiting_message" ? "waiting" : "thinking";
}

export const REASONS: Record<string, string> = {
  closed_by_user: "closed by a user",
  closed_by_agent: "closed by an agent",
  agents_exited: "its agents exited",
  ttl: "its time was up",
  failed: "failed",
  budget_reached: "its budget was reached",
  namespace_deleted: "its namespace was deleted",
};

/** Entries of the history that are read at once. */
const PAGE = 100;

function Ended({ namespace }: { namespace: string }) {
  const entries = useSignal<HistoryEntry[] | undefined>(undefined);
  const next = useSignal<string | undefined>(undefined);
  const fault = useSignal("");
  const { query } = place.value;
  const [search, reason] = [query.get("q") ?? "", query.get("reason") ?? ""];
  const path = `api/v1/local/namespace/${at(namespace)}/history`;
  const read = async (cursor?: string) => {
    try {
      const part = await page<HistoryEntry>(path, { limit: String(PAGE), reason, cursor });
      entries.value = cursor ? [...(entries.value ?? []), ...part.items] : part.items;
      next.value = part.next;
      fault.value = "";
    } catch (error) {
      fault.value = messageOf(error);
    }
  };
  useEffect(() => {
    entries.value = undefined;
    let soon: ReturnType<typeof setTimeout>;
    void read();
    const stop = follow({
      path: () => "ws/v1/events/lsm",
      query: () => ({ namespaceFilter: namespace }),
      onFrame: ({ type }) => {
        if (type !== "session_closed" || (entries.value?.length ?? 0) > PAGE) return; // who has paged reads on
        clearTimeout(soon);
        soon = setTimeout(() => void read(), 500);
      },
      onLiveness: () => undefined,
      ask: async () => {
        if ((entries.value?.length ?? 0) <= PAGE) await read();
      },
    });
    return () => {
      clearTimeout(soon);
      stop();
    };
  }, [namespace, reason]);
  const shown = (entries.value ?? []).filter((entry) => hasWords(entry.sessionId, entry.annotations, search));
  if (fault.value) return <Fault text={fault.value} onRetry={() => void read()} />;
  return (
    <>
      <Filters
        what="the history"
        choice={{ name: "reason", label: "Reason", options: [["", "any reason"], ...Object.entries(REASONS)] }}
      >
        <span class="count">
          {shown.length.toLocaleString("en")}
          {next.value ? " so far" : ""}
        </span>
        <Button icon="again" kind="quiet" onClick={() => void read()}>
          Read again
        </Button>
      </Filters>
      {entries.value && shown.length === 0 && (
        <Empty title="No session here">
          <p>A session that was executed is in the history once it is gone, for as long as the operator says.</p>
        </Empty>
      )}
      {shown.length > 0 && (
        <VirtualList
          label="Sessions that have ended"
          class="table"
          most="calc(100vh - 230px)"
          items={shown}
          rowPx={ROW_PX}
          render={(entry) => <EndedRow entry={entry} />}
        />
      )}
      {next.value && (
        <p class="more">
          <Button onClick={() => void read(next.value)}>Show earlier ones</Button>
        </p>
      )}
    </>
  );
}

function EndedRow({ entry }: { entry: HistoryEntry }) {
  const { summary } = entry;
  const spent = spentOf(summary.budget);
  const limit = summary.budget?.session?.limit;
  return (
    <a class="row ended" href={sessionLink(entry.namespace, entry.sessionId)}>
      <State of="ended" />
      <code class="id">{entry.sessionId.slice(0, 8)}</code>
      <span class="crew">
        {summary.agents.slice(0, 4).map((agent) => (
          <span class="mate mate-stopped">
            <Avatar name={agent.name} />
            {agent.name}
          </span>
        ))}
        <small>
          {summary.messages} {summary.messages === 1 ? "message" : "messages"}
          {summary.runMs != null && `, ${duration(summary.runMs)}`}, AWS {dollars(summary.estimate.microUsd)}
          {spent !== undefined && `, spent ${dollars(spent)}${limit === undefined ? "" : ` of ${dollars(limit)}`}`},{" "}
          {REASONS[entry.reason]}
        </small>
      </span>
      <Annotations of={entry.annotations} />
      <span class="when">{summary.closingAt && <Ago at={summary.closingAt} />}</span>
    </a>
  );
}
