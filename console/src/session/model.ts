/**
 * What the timeline shows, made of a session's events one by one: what each agent did when, the messages from agent to
 * agent, the threads, and the calls of models. No drawing is known here.
 */
import type { Message, SessionEvent } from "../types.ts";

/** What an agent does. `starting` is from its start to its first request. */
export type Activity = "starting" | "thinking" | "waiting" | "stopped";

/** No wait of a process lasts longer; one that ends without a message leaves no event. Those of functions may. */
export const LONGEST_WAIT_MS = 58_000;

/** A wait that a message ended so much later was a function's: no event says that an agent is one. */
const LATE_MS = 2_000;

/** How many colours threads have. */
export const TONES = 8;

/** A stretch of an agent's time. `end` is missing while it lasts. Positions count the session's events from 0. */
export interface Span {
  agent: string;
  activity: Activity;
  startMs: number;
  start: number;
  endMs?: number;
  end?: number;
  /** What a waiting agent waits for, in words. */
  detail?: string;
}

/** A message and where it went: `position` and `atMs` of an arrival are those of the event that ended a wait. */
export interface Sending {
  position: number;
  atMs: number;
  message: Message;
  arrivals: { agent: string; position: number; atMs: number }[];
}

export interface Thread {
  id: string;
  name: string;
  creator: string;
  participants: Set<string>;
  sendings: Sending[];
  tone: number;
  closed?: { summary: string; atMs: number };
}

/** A call of a model, where its answer came; tokens are missing where the provider did not say. */
export interface Call {
  position: number;
  atMs: number;
  agent: string;
  model: string;
  /** The agent's own name for the model. */
  proxy: string;
  status: number;
  inputTokens?: number;
  outputTokens?: number;
}

/** What the calls of a model come to. */
export interface CallTotals {
  calls: number;
  /** Those that were answered with an error. */
  failed: number;
  inputTokens: number;
  outputTokens: number;
}

export interface Entry {
  position: number;
  atMs: number;
  event: SessionEvent;
}

export class Timeline {
  readonly entries: Entry[] = [];
  readonly sendings: Sending[] = [];
  readonly lanes = new Map<string, Span[]>();
  readonly threads = new Map<string, Thread>();
  readonly calls: Call[] = [];
  /** By the name of the model. */
  readonly models = new Map<string, CallTotals>();
  /** Agents that are functions, as far as their waits have told. */
  readonly #functions = new Set<string>();
  readonly #byMessage = new Map<string, Sending>();

  /** Give an agent its lane, before anything is known of what it does. */
  addAgent(name: string): Span[] {
    const spans = this.lanes.get(name) ?? [];
    this.lanes.set(name, spans);
    return spans;
  }

  add(event: SessionEvent): void {
    const position = this.entries.length;
    const entry = { position, atMs: Date.parse(event.timestamp), event };
    this.entries.push(entry);
    switch (event.type) {
      case "runtime_started":
        this.#begin(event.name, "starting", entry);
        break;
      case "agent_connected":
        this.#begin(event.name, "thinking", entry);
        break;
      case "runtime_stopped":
        this.#begin(event.name, "stopped", entry);
        break;
      case "agent_wait_start":
        this.#begin(event.name, "waiting", entry, waitsFor(event.filters));
        break;
      case "agent_wait_stop":
        this.#byMessage.get(event.message.id)?.arrivals.push({ agent: event.name, position, atMs: entry.atMs });
        this.#judgeWait(event.name, entry);
        this.#begin(event.name, "thinking", entry);
        break;
      case "thread_message_sent":
        this.#send(event.message, entry);
        break;
      case "thread_created":
        this.#open(event.thread);
        this.#act(event.thread.creatorName, entry);
        break;
      case "thread_closed": {
        const thread = this.threads.get(event.threadId);
        if (thread) thread.closed = { summary: event.summary, atMs: entry.atMs };
        break;
      }
      case "thread_participant_added":
        this.threads.get(event.threadId)?.participants.add(event.name);
        break;
      case "thread_participant_removed":
        this.threads.get(event.threadId)?.participants.delete(event.name);
        break;
      case "llm_proxy_call":
        this.#count(callOf(event, entry));
        break;
    }
  }

  /** What an agent does after the last event. */
  activityOf(name: string): Activity | undefined {
    return this.lanes.get(name)?.at(-1)?.activity;
  }

  get startMs(): number {
    return this.entries[0]?.atMs ?? 0;
  }

  get endMs(): number {
    return this.entries.at(-1)?.atMs ?? 0;
  }

  #open(thread: { id: string; name: string; creatorName: string; participants: string[] }): void {
    if (this.threads.has(thread.id)) return;
    this.threads.set(thread.id, {
      id: thread.id,
      name: thread.name,
      creator: thread.creatorName,
      participants: new Set(thread.participants),
      sendings: [],
      tone: this.threads.size % TONES,
    });
  }

  #send(message: Message, entry: Entry): void {
    const sending = { position: entry.position, atMs: entry.atMs, message, arrivals: [] };
    this.sendings.push(sending);
    this.#byMessage.set(message.id, sending);
    this.threads.get(message.threadId)?.sendings.push(sending);
    this.#act(message.senderName, entry);
  }

  #judgeWait(name: string, { atMs }: Entry): void {
    const wait = this.lanes.get(name)?.at(-1);
    if (wait?.activity === "waiting" && atMs > wait.startMs + LONGEST_WAIT_MS + LATE_MS) this.#functions.add(name);
  }

  /** Take in a call. It ends no wait: that of a stream is known a moment after the agent has read all of it. */
  #count(call: Call): void {
    this.calls.push(call);
    this.addAgent(call.agent);
    const totals = this.models.get(call.model) ?? { calls: 0, failed: 0, inputTokens: 0, outputTokens: 0 };
    totals.calls++;
    if (hasFailed(call)) totals.failed++;
    totals.inputTokens += call.inputTokens ?? 0;
    totals.outputTokens += call.outputTokens ?? 0;
    this.models.set(call.model, totals);
  }

  /** An agent that does something does not wait any more. */
  #act(name: string, entry: Entry): void {
    if (this.activityOf(name) === "waiting") this.#begin(name, "thinking", entry);
  }

  #begin(name: string, activity: Activity, entry: Entry, detail?: string): void {
    const spans = this.addAgent(name);
    const last = spans.at(-1);
    if (last?.activity === "stopped" && activity !== "starting") return;
    if (last?.activity === activity && activity !== "waiting") return;
    if (last) {
      last.end = entry.position;
      last.endMs = entry.atMs;
      const mayEndUnseen = last.activity === "waiting" && !this.#functions.has(name);
      if (mayEndUnseen && entry.atMs > last.startMs + LONGEST_WAIT_MS) {
        // It ended by itself, and the agent thought on.
        last.endMs = last.startMs + LONGEST_WAIT_MS;
        if (activity !== "thinking") {
          spans.push({
            agent: name,
            activity: "thinking",
            startMs: last.endMs,
            start: last.end,
            endMs: entry.atMs,
            end: last.end,
          });
        } else {
          spans.push({ agent: name, activity, startMs: last.endMs, start: last.end });
          return;
        }
      }
    }
    spans.push({ agent: name, activity, startMs: entry.atMs, start: entry.position, ...(detail ? { detail } : {}) });
  }
}

function callOf(event: SessionEvent & { type: "llm_proxy_call" }, { position, atMs }: Entry): Call {
  const { inputTokens, outputTokens } = event.usage;
  return {
    position,
    atMs,
    agent: event.agentName,
    model: event.modelName,
    proxy: event.providerRequestName,
    status: event.statusCode,
    ...(inputTokens == null ? {} : { inputTokens }),
    ...(outputTokens == null ? {} : { outputTokens }),
  };
}

export function hasFailed(call: Call): boolean {
  return call.status < 200 || call.status > 299;
}

/** Say how many tokens a call took, or all calls of a model. */
export function tokensOf(usage: { inputTokens?: number | null; outputTokens?: number | null }): string {
  if (usage.inputTokens == null && usage.outputTokens == null) return "no tokens told";
  const count = (tokens: number | null | undefined) => (tokens ?? 0).toLocaleString("en");
  return `${count(usage.inputTokens)} tokens in, ${count(usage.outputTokens)} out`;
}

/** Say what a wait is for. */
export function waitsFor(filters: { type: string; name: string }[]): string {
  if (filters.length === 0) return "any message";
  return filters
    .map(({ type, name }) => (type === "from" ? `a message from ${name}` : `a message that mentions ${name}`))
    .join(" and ");
}

/** Return the index of the first of `items`, which are in order, whose value is at least `least`. */
export function firstAtLeast<Item>(items: readonly Item[], valueOf: (item: Item) => number, least: number): number {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (valueOf(items[middle]!) < least) low = middle + 1;
    else high = middle;
  }
  return low;
}
