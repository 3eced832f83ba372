/** A session as one follows it: what is known of it, its events from the first to the latest, and whether they come live. */
import { signal } from "@preact/signals";

import { ApiError, all, at, get, messageOf, page, send } from "../api.ts";
import { type Liveness, follow } from "../live.ts";
import type { AgentState, Budgets, HistoricSession, NewLimits, SessionEvent, SessionState } from "../types.ts";
import { Timeline } from "./model.ts";
import { hasLimit } from "./spending.ts";

/** Pages of events that are read at most: the sockets go no further back either. */
const MOST_PAGES = 200;
/** Events that are read at once: few at first, so that there is something to see. */
const PAGE = { first: "200", next: "1000" };

export class SessionSource {
  readonly #timeline = new Timeline();
  /** Grows with every change of the timeline, once a frame of the screen. */
  readonly #version = signal(0);
  readonly state = signal<SessionState | undefined>(undefined);
  readonly agents = signal<AgentState[]>([]);
  /** Without a limit there is none in it, neither the session's nor an agent's. */
  readonly budgets = signal<Budgets | undefined>(undefined);
  readonly past = signal<HistoricSession | undefined>(undefined);
  readonly liveness = signal<Liveness>("connecting");
  readonly fault = signal("");
  /** Whether the events up to now have been read. */
  readonly loaded = signal(false);
  #cursor = "0";
  #stop: (() => void)[] = [];
  #frame = 0;
  #stopped = false;
  #refreshing: ReturnType<typeof setTimeout> | undefined;
  #limitsSet = 0;
  #readingBudgets: ReturnType<typeof setTimeout> | undefined;

  constructor(
    readonly namespace: string,
    readonly id: string,
  ) {
    void this.#open();
  }

  /** What has happened. Who shows it shows it again when more has. */
  get timeline(): Timeline {
    void this.#version.value;
    return this.#timeline;
  }

  close(): void {
    this.#stopped = true;
    clearTimeout(this.#refreshing);
    clearTimeout(this.#readingBudgets);
    cancelAnimationFrame(this.#frame);
    for (const stop of this.#stop) stop();
  }

  /** Set other limits; raises what the API says against them. */
  async changeBudget(limits: NewLimits): Promise<void> {
    const budgets = await send<Budgets>("POST", `${this.#path()}/budget`, limits);
    this.#limitsSet++; // what was asked for before is old
    this.budgets.value = budgets;
  }

  /** Read anew what events do not tell: the status, why agents have stopped, and what is left of the budgets. */
  async refresh(): Promise<void> {
    if (this.#stopped || this.past.value) return;
    const limitsSet = this.#limitsSet;
    const [state, agents, budgets] = await Promise.all([
      get<SessionState>(this.#path()),
      all<AgentState>(`${this.#path()}/agent`),
      get<Budgets>(`${this.#path()}/budget`),
    ]);
    if (this.past.value) return; // it has ended in the meantime
    this.state.value = state;
    this.agents.value = agents;
    if (limitsSet === this.#limitsSet) this.budgets.value = budgets;
    for (const agent of agents) this.#timeline.addAgent(agent.name);
    this.#changed();
  }

  #path(): string {
    return `api/v1/local/session/${at(this.namespace, this.id)}`;
  }

  #pastPath(): string {
    return `api/v1/local/namespace/${at(this.namespace)}/history/${at(this.id)}`;
  }

  async #open(): Promise<void> {
    try {
      await this.refresh();
      await this.#read(`${this.#path()}/events`);
      this.#follow();
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) await this.#openPast();
      else this.fault.value = messageOf(error);
    }
    this.loaded.value = true;
  }

  #follow(): void {
    if (this.#stopped) return;
    this.#stop.push(
      follow({
        path: () => `ws/v1/events/session/${at(this.namespace, this.id)}`,
        query: () => ({ after: this.#cursor }),
        onFrame: (frame) => this.#take(frame as unknown as SessionEvent & { cursor?: string | number }),
        onLiveness: (liveness) => (this.liveness.value = liveness),
        ask: () => this.#ask(),
        onEnd: () => void this.#openPast(),
      }),
    );
    // No event of a session tells that it ends.
    const timer = setInterval(() => void this.#ask(false).catch(() => undefined), 5_000);
    this.#stop.push(() => clearInterval(timer));
  }

  async #ask(events = true): Promise<void> {
    try {
      if (events) await this.#read(`${this.#path()}/events`);
      await this.refresh();
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) await this.#openPast();
      else throw error;
    }
  }

  /** The session is gone: its history has it, after a moment. */
  async #openPast(): Promise<void> {
    if (this.past.value || this.#stopped) return;
    for (let tries = 0; tries < 5 && !this.#stopped; tries++) {
      try {
        const past = await get<HistoricSession>(this.#pastPath());
        for (const stop of this.#stop.splice(0)) stop();
        this.agents.value = past.state.agents as AgentState[];
        for (const agent of past.state.agents) this.#timeline.addAgent(agent.name);
        this.state.value = past.state.base;
        this.budgets.value = past.summary.budget ?? undefined;
        this.past.value = past;
        this.liveness.value = "over";
        await this.#read(`${this.#pastPath()}/events`);
        return;
      } catch (error) {
        if (!(error instanceof ApiError && error.status === 404)) {
          this.fault.value = messageOf(error);
          return;
        }
        if (!this.state.value) break; // it was not there a moment ago either
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    }
    for (const stop of this.#stop.splice(0)) stop();
    this.liveness.value = "over";
    this.fault.value = this.state.value
      ? `The session ${this.id} is gone. The history has no session that was never executed.`
      : `There is no session ${this.id} in ${this.namespace}, and none in its history.`;
  }

  /** Read events from the cursor on until there are no more. */
  async #read(path: string): Promise<void> {
    for (let count = 0; count < MOST_PAGES && !this.#stopped; count++) {
      const after = this.#cursor;
      const part = await page<SessionEvent>(path, { after, limit: after === "0" ? PAGE.first : PAGE.next });
      if (after !== this.#cursor) continue; // another reader was quicker
      if (part.items.length === 0 && (part.next === undefined || part.next === this.#cursor)) return;
      for (const event of part.items) this.#timeline.add(event);
      this.#cursor = part.next ?? this.#cursor;
      this.#changed();
    }
  }

  #take({ cursor, ...event }: SessionEvent & { cursor?: string | number }): void {
    if (cursor !== undefined) {
      if (Number(cursor) <= Number(this.#cursor)) return; // asked for in the meantime
      this.#cursor = String(cursor);
    }
    this.#timeline.add(event as SessionEvent);
    this.#changed();
    if (/^(runtime_|agent_connected)/.test(event.type)) this.#refreshSoon();
    if (event.type === "llm_proxy_call" && hasLimit(this.budgets.value)) this.#readBudgetsSoon();
  }

  #refreshSoon(): void {
    clearTimeout(this.#refreshing);
    this.#refreshing = setTimeout(() => void this.#ask(false).catch(() => undefined), 250);
  }

  /** Read the budgets a moment after a call, and after a moment once more when there were calls in between. */
  #readBudgetsSoon(): void {
    this.#readingBudgets ??= setTimeout(() => {
      this.#readingBudgets = undefined;
      if (this.#stopped || this.past.value) return;
      const limitsSet = this.#limitsSet;
      void get<Budgets>(`${this.#path()}/budget`).then(
        (budgets) => {
          if (limitsSet === this.#limitsSet && !this.past.value) this.budgets.value = budgets;
        },
        () => undefined, // what reads everything every few seconds says what is wrong
      );
    }, 250);
  }

  #changed(): void {
    if (this.#frame || this.#stopped) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#version.value++;
    });
  }
}
