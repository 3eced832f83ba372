/** The agents of a session: what each is and does, and what it prints. */
import { useSignal } from "@preact/signals";
import { Fragment } from "preact";
import { useEffect } from "preact/hooks";

import { ApiError, at, messageOf, page, send } from "../api.ts";
import { link, place, refine } from "../route.ts";
import { doing } from "../sessions.tsx";
import { clockTime, dateTime } from "../time.ts";
import type { AgentState, LogLine } from "../types.ts";
import { Annotations, Avatar, Empty, SureButton, VirtualList, attempt } from "../ui.tsx";
import { Budget } from "./budget.tsx";
import { tokensOf } from "./model.ts";
import { withoutLimit } from "./money.tsx";
import type { SessionSource } from "./source.ts";
import { hasLimit } from "./spending.ts";

export function Agents({ source }: { source: SessionSource }) {
  const chosen = place.value.query.get("agent");
  const agents = source.agents.value;
  const isOver = source.past.value !== undefined;
  return (
    <div class="agents" role="tabpanel" aria-label="Agents">
      <ul>
        {agents.map((agent) => (
          <li key={agent.name}>
            <AgentCard source={source} agent={agent} isChosen={agent.name === chosen} isOver={isOver} />
          </li>
        ))}
      </ul>
      <Logs key={`${chosen ?? ""} ${isOver}`} source={source} agent={chosen ?? undefined} isOver={isOver} />
    </div>
  );
}

function AgentCard(props: { source: SessionSource; agent: AgentState; isChosen: boolean; isOver: boolean }) {
  const { source, agent } = props;
  const { status } = agent;
  const budgets = source.budgets.value;
  const id = agent.registryAgentIdentifier;
  const isLocal = id.registrySourceId.type === "local";
  const kill = () => send("DELETE", `api/v1/puppet/${at(source.namespace, source.id, agent.name)}`);
  const canBeKilled = !props.isOver && status.type !== "stopped" && source.state.value?.status.type === "executed";
  return (
    <article class="agent-card">
      <header>
        <Avatar name={agent.name} />
        <h3>{agent.name}</h3>
        <span class={`mate mate-${doing(agent)}`}>{doing(agent)}</span>
      </header>
      <p class="from">
        {isLocal ? <a href={link(["registry", id.name, id.version])}>{`${id.name} ${id.version}`}</a> : `${id.name} ${id.version}`}
      </p>
      {agent.description && <p>{agent.description}</p>}
      {status.type === "stopped" && status.reason && <p class={status.reason.endsWith("code 0") ? "hint" : "bad"}>{status.reason}</p>}
      <dl>
        {status.type !== "waiting" && status.startTime && (
          <>
            <dt>started</dt>
            <dd>{dateTime(status.startTime)}</dd>
          </>
        )}
        {agent.links.length > 0 && (
          <>
            <dt>knows</dt>
            <dd>{agent.links.join(", ")}</dd>
          </>
        )}
        {Object.entries(agent.tokensByModel).map(([model, tokens]) => (
          <Fragment key={model}>
            <dt>{model}</dt>
            <dd>{tokensOf(tokens)}</dd>
          </Fragment>
        ))}
      </dl>
      {hasLimit(budgets) && (
        <Budget source={source} whose={agent.name} balance={budgets?.agents[agent.name]} without={withoutLimit(source)} />
      )}
      <Annotations of={agent.annotations} />
      <footer>
        <button
          type="button"
          class="button quiet"
          aria-pressed={props.isChosen}
          onClick={() => refine({ agent: props.isChosen ? undefined : agent.name })}
        >
          {props.isChosen ? "Log of all" : "Log of this one"}
        </button>
        {canBeKilled && (
          <SureButton kind="quiet" sure={`End ${agent.name}?`} onSure={() => void attempt(kill, `${agent.name} is ended.`)}>
            End agent
          </SureButton>
        )}
      </footer>
    </article>
  );
}

const ASK_EVERY_MS = 1_500;
const MOST_LINES = 20_000;

/** What agents print, asked for again and again from where it ended; their last lines when the session is over. */
function Logs({ source, agent, isOver }: { source: SessionSource; agent: string | undefined; isOver: boolean }) {
  const lines = useSignal<LogLine[]>([]);
  const fault = useSignal("");
  useEffect(() => {
    let cursor: string | undefined;
    let stopped = false;
    let timer: ReturnType<typeof setTimeout>;
    const path = isOver
      ? `api/v1/local/namespace/${at(source.namespace)}/history/${at(source.id)}/logs`
      : `api/v1/local/session/${at(source.namespace, source.id)}/logs`;
    const read = async () => {
      try {
        let before: string | undefined;
        do {
          before = cursor;
          const part = await page<LogLine>(path, { agent, after: cursor, limit: "1000" });
          if (stopped) return;
          cursor = part.next ?? cursor;
          if (part.items.length) lines.value = [...lines.value, ...part.items].slice(-MOST_LINES);
        } while (cursor !== before);
        fault.value = "";
      } catch (error) {
        if (error instanceof ApiError && error.status === 404) return;
        fault.value = messageOf(error);
      }
      if (!stopped && !isOver) timer = setTimeout(() => void read(), ASK_EVERY_MS);
    };
    void read();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [source, agent, isOver]);
  return (
    <section class="logs" aria-label={agent ? `Log of ${agent}` : "Log"}>
      {fault.value && <p class="bad">{fault.value}</p>}
      {lines.value.length === 0 ? (
        <Empty title={agent ? `${agent} has printed nothing` : isOver ? "Nothing was printed" : "Nothing printed yet"} />
      ) : (
        <VirtualList
          label="Lines of the log"
          class="lines"
          items={lines.value}
          rowPx={22}
          stick
          render={(line) => (
            <span class={`line ${line.type}`} title={line.text}>
              <time>{clockTime(Date.parse(line.timestamp))}</time>
              <b>{nameIn(line)}</b>
              <span>{line.text}</span>
            </span>
          )}
        />
      )}
    </section>
  );
}

function nameIn(line: LogLine): string {
  for (const tag of line.tags) if (tag.type === "agent") return tag.name;
  return "session";
}
