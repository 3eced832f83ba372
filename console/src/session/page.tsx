/** One session: its timeline, and beside it everything that is known of it; while it runs and after its end. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";

import { at, send } from "../api.ts";
import { exactDollars } from "../money.ts";
import { go, link, namespaceLink, place, refine } from "../route.ts";
import { LiveNotice, REASONS } from "../sessions.tsx";
import { duration, now } from "../time.ts";
import { Ago, Annotations, Button, Copy, Dialog, Fault, Json, State, SureButton, Tabs, attempt } from "../ui.tsx";
import { Agents } from "./agents.tsx";
import { Deliveries } from "./deliveries.tsx";
import { Events } from "./events.tsx";
import { Graph } from "./graph.tsx";
import { Money } from "./money.tsx";
import { Report } from "./report.tsx";
import { SessionSource } from "./source.ts";
import { spentOf } from "./spending.ts";
import { Threads } from "./threads.tsx";
import { TimelineView } from "./timeline.tsx";

export function SessionPage({ namespace, id }: { namespace: string; id: string }) {
  const source = useMemo(() => new SessionSource(namespace, id), [namespace, id]);
  const inspected = useSignal<unknown>(undefined);
  useEffect(() => () => source.close(), [source]);
  const { query } = place.value;
  const tab = query.get("tab") ?? "threads";
  const { timeline } = source;
  const inspect = (value: unknown) => (inspected.value = value);
  if (source.fault.value)
    return (
      <section class="page">
        <Fault text={source.fault.value} />
        <p>
          <a href={namespaceLink(namespace)}>To the sessions of {namespace}</a>
        </p>
      </section>
    );
  if (!source.state.value) return <p class="loading">Reading the session…</p>;
  return (
    <section class="page session">
      <Head source={source} />
      <TimelineView source={source} onInspect={inspect} />
      <div class="details">
        <Tabs
          label="Of this session"
          chosen={tab}
          onChoose={(chosen) => refine({ tab: chosen })}
          tabs={[
            { id: "threads", label: "Threads", count: timeline.threads.size },
            { id: "agents", label: "Agents", count: source.agents.value.length },
            { id: "events", label: "Events", count: timeline.entries.length },
            { id: "money", label: "Money" },
            { id: "graph", label: "Graph" },
            { id: "deliveries", label: "Deliveries" },
            { id: "report", label: "Report" },
          ]}
        />
        {tab === "threads" && <Threads source={source} onInspect={inspect} />}
        {tab === "agents" && <Agents source={source} />}
        {tab === "events" && <Events source={source} onInspect={inspect} />}
        {tab === "money" && <Money source={source} />}
        {tab === "graph" && <Graph source={source} />}
        {tab === "deliveries" && <Deliveries namespace={namespace} session={id} onInspect={inspect} />}
        {tab === "report" && <Report source={source} onInspect={inspect} />}
      </div>
      {inspected.value !== undefined && (
        <Dialog
          side
          title="As it is"
          actions={
            <>
              {threadIn(inspected.value) && (
                <Button
                  onClick={() => {
                    refine({ tab: "threads", thread: threadIn(inspected.value) });
                    inspected.value = undefined;
                  }}
                >
                  To its thread
                </Button>
              )}
              <Copy text={JSON.stringify(inspected.value, null, 2)} />
            </>
          }
          onClose={() => (inspected.value = undefined)}
        >
          <Json value={inspected.value} />
        </Dialog>
      )}
    </section>
  );
}

/** The thread that an event, or a message, belongs to. */
function threadIn(value: unknown): string | undefined {
  const { threadId, message, thread } = value as {
    threadId?: string;
    message?: { threadId?: string };
    thread?: { id?: string };
  };
  return threadId ?? message?.threadId ?? thread?.id;
}

function Head({ source }: { source: SessionSource }) {
  const state = source.state.value!;
  const past = source.past.value;
  const path = `api/v1/local/session/${at(source.namespace, source.id)}`;
  const { status } = state;
  const startMs = status.type === "pending_execution" ? undefined : Date.parse(status.executionTime);
  const endMs = status.type === "closing" ? Date.parse(status.closingTime) : now.value;
  const spent = spentOf(source.budgets.value);
  const limit = source.budgets.value?.session?.limit;
  const execute = () => send("POST", path, {}).then(() => source.refresh());
  const close = () => send("DELETE", path);
  const forget = async () => {
    const gone = `api/v1/local/namespace/${at(source.namespace)}/history/${at(source.id)}`;
    if (await attempt(() => send("DELETE", gone), "It is deleted."))
      go(namespaceLink(source.namespace, { tab: "history" }));
  };
  return (
    <header class="session-head">
      <nav aria-label="Where this is">
        <a href={namespaceLink(source.namespace, { tab: past ? "history" : undefined })}>{source.namespace}</a>
        <span aria-hidden="true"> / </span>
      </nav>
      <h1>
        <code title={source.id}>{source.id.slice(0, 8)}</code>
      </h1>
      <State of={past ? "ended" : status.type} />
      <span class="facts">
        {startMs !== undefined && <span>{duration(endMs - startMs)}</span>}
        <span>
          created <Ago at={state.timestamp} />
        </span>
        {past && <span>{REASONS[past.reason]}</span>}
        {spent !== undefined && (
          <span>
            spent {exactDollars(spent)}
            {limit !== undefined && ` of ${exactDollars(limit)}`}
          </span>
        )}
      </span>
      <Annotations of={state.annotations} />
      {source.loaded.value ? (
        <LiveNotice liveness={source.liveness.value} />
      ) : (
        <span class="liveness" role="status">
          reading events: {source.timeline.entries.length.toLocaleString("en")}
        </span>
      )}
      <span class="spring" />
      <Copy text={source.id} label="Copy id" />
      {!past && status.type === "pending_execution" && (
        <Button kind="primary" icon="play" onClick={() => void attempt(execute, "It is executed.")}>
          Execute
        </Button>
      )}
      {!past && status.type !== "closing" && (
        <SureButton sure="Really close?" onSure={() => void attempt(close, "It is being closed.")}>
          Close
        </SureButton>
      )}
      {(past || status.type === "closing") && (
        <a class="button" href={link(["new"], { ns: source.namespace, again: source.id })}>
          Run again
        </a>
      )}
      {past && (
        <SureButton kind="quiet" icon="trash" sure="Delete for ever?" onSure={() => void forget()}>
          Delete
        </SureButton>
      )}
    </header>
  );
}
