/** The session in numbers, and how it ended. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { at, get, messageOf } from "../api.ts";
import { dollars, exactDollars } from "../money.ts";
import { duration } from "../time.ts";
import type { Summary } from "../types.ts";
import { Agent, Button, Fault } from "../ui.tsx";
import { Models } from "./money.tsx";
import type { SessionSource } from "./source.ts";
import { spentOf } from "./spending.ts";

export function Report({ source, onInspect }: { source: SessionSource; onInspect: (value: unknown) => void }) {
  const live = useSignal<Summary | undefined>(undefined);
  const fault = useSignal("");
  const past = source.past.value;
  useEffect(() => {
    if (past) return;
    const path = `api/v1/local/session/${at(source.namespace, source.id)}/summary`;
    const read = () =>
      get<Summary>(path).then(
        (summary) => ((live.value = summary), (fault.value = "")),
        (error: unknown) => (fault.value = messageOf(error)),
      );
    void read();
    const timer = setInterval(() => void read(), 5_000);
    return () => clearInterval(timer);
  }, [source, past]);
  const summary = past?.summary ?? live.value;
  if (fault.value && !past) return <Fault text={fault.value} />;
  if (!summary) return <p class="loading">Counting…</p>;
  const longest = Math.max(1, ...summary.agents.map((agent) => agent.runningMs));
  const { calls } = source.timeline;
  const spent = spentOf(summary.budget);
  const limit = summary.budget?.session?.limit;
  const figures: [string, string][] = [
    ["messages", summary.messages.toLocaleString("en")],
    ["threads", summary.threads.toLocaleString("en")],
    ["waits", summary.waits.toLocaleString("en")],
    ["ran for", summary.runMs == null ? "–" : duration(summary.runMs)],
    ["held for", summary.holdMs == null ? "–" : duration(summary.holdMs)],
    ["AWS, estimated", dollars(summary.estimate.microUsd)],
  ];
  if (calls.length) figures.push(["calls of models", calls.length.toLocaleString("en")]);
  if (spent !== undefined)
    figures.push(["spent", `${exactDollars(spent)}${limit === undefined ? "" : ` of ${exactDollars(limit)}`}`]);
  return (
    <div class="report" role="tabpanel" aria-label="Report">
      <dl class="figures">
        {figures.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <table class="shares">
        <thead>
          <tr>
            <th>Agent</th>
            <th>Ran</th>
            <th>Waited</th>
            <th>
              <span class="hidden">Shares</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {summary.agents.map((agent) => (
            <tr key={agent.name}>
              <td>
                <Agent name={agent.name} />
              </td>
              <td>{duration(agent.runningMs)}</td>
              <td>{duration(agent.waitingMs)}</td>
              <td class="share">
                <svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
                  <rect class="span span-thinking" width={(agent.runningMs / longest) * 100} height="8" />
                  <rect class="share-waiting" width={(Math.min(agent.waitingMs, agent.runningMs) / longest) * 100} height="8" />
                </svg>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {(calls.length > 0 || spent !== undefined) && <Models source={source} />}
      {past && (
        <p>
          <Button onClick={() => onInspect(past.report)}>End report as JSON</Button>
        </p>
      )}
      {!past && <p class="hint">The end report is made when the session closes; it is here once the session is in the history.</p>}
    </div>
  );
}
