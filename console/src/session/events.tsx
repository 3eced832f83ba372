/** Everything that has happened, as a list that can be filtered. */
import { place, refine } from "../route.ts";
import type { SessionEvent } from "../types.ts";
import { Empty, VirtualList } from "../ui.tsx";
import type { Entry } from "./model.ts";
import { tokensOf, waitsFor } from "./model.ts";
import type { SessionSource } from "./source.ts";

export function Events({ source, onInspect }: { source: SessionSource; onInspect: (value: unknown) => void }) {
  const { query } = place.value;
  const [type, search] = [query.get("type") ?? "", (query.get("find") ?? "").toLowerCase()];
  const { entries, startMs } = source.timeline;
  const types = [...new Set(entries.map((entry) => entry.event.type))].sort();
  const shown =
    type || search
      ? entries.filter(({ event }) => (!type || event.type === type) && (!search || wordsOf(event).includes(search)))
      : [...entries];
  return (
    <div class="events" role="tabpanel" aria-label="Events">
      <div class="filters">
        <input
          type="search"
          aria-label="Search events"
          placeholder="Search"
          value={query.get("find") ?? ""}
          onInput={(event) => refine({ find: event.currentTarget.value })}
        />
        <select aria-label="Type" value={type} onChange={(event) => refine({ type: event.currentTarget.value })}>
          <option value="">all types</option>
          {types.map((each) => (
            <option key={each} value={each}>
              {each.replaceAll("_", " ")}
            </option>
          ))}
        </select>
        <span class="count">
          {shown.length.toLocaleString("en")} of {entries.length.toLocaleString("en")}
        </span>
      </div>
      {shown.length === 0 ? (
        <Empty title={entries.length ? "No event is like that" : "Nothing has happened yet"} />
      ) : (
        <VirtualList
          label="Events"
          class="lines"
          items={shown}
          rowPx={30}
          stick
          render={(entry) => <Row entry={entry} startMs={startMs} onInspect={onInspect} />}
        />
      )}
    </div>
  );
}

function Row({ entry, startMs, onInspect }: { entry: Entry; startMs: number; onInspect: (value: unknown) => void }) {
  const { event } = entry;
  return (
    <button type="button" class="event" onClick={() => onInspect(event)}>
      <span class="number">{entry.position + 1}</span>
      <time title={event.timestamp}>{((entry.atMs - startMs) / 1_000).toFixed(3)} s</time>
      <span class={`kind kind-${event.type.split("_")[0]}`}>{event.type.replaceAll("_", " ")}</span>
      <span class="what">{whatOf(event)}</span>
    </button>
  );
}

function wordsOf(event: SessionEvent): string {
  return `${event.type.replaceAll("_", " ")} ${whatOf(event)}`.toLowerCase();
}

/** Say in a line what an event is about. */
export function whatOf(event: SessionEvent): string {
  switch (event.type) {
    case "thread_message_sent":
      return `${event.message.senderName}${event.message.mentionNames.map((name) => ` @${name}`).join("")}: ${event.message.text}`;
    case "agent_wait_start":
      return `${event.name} waits for ${waitsFor(event.filters)}`;
    case "agent_wait_stop":
      return `${event.name} got a message from ${event.message.senderName}`;
    case "thread_created":
      return `${event.thread.creatorName}: ${event.thread.name}`;
    case "thread_closed":
      return event.summary;
    case "llm_proxy_call":
      return `${event.agentName} called ${event.modelName}: ${event.statusCode}, ${tokensOf(event.usage)}`;
    case "docker_container_created":
    case "docker_container_removed":
      return event.containerId;
    default:
      return event.name;
  }
}
