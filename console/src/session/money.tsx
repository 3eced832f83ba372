/** What a session's models took, and what became of its budgets. */
import { exactDollars } from "../money.ts";
import { Agent, Empty } from "../ui.tsx";
import { Budget } from "./budget.tsx";
import { tokensOf } from "./model.ts";
import type { SessionSource } from "./source.ts";
import { hasLimit, modelRows } from "./spending.ts";

export function Money({ source }: { source: SessionSource }) {
  const budgets = source.budgets.value;
  const isOver = source.past.value !== undefined;
  const hasNothing = !hasLimit(budgets) && source.timeline.calls.length === 0;
  return (
    <div class="money" role="tabpanel" aria-label="Money">
      {hasNothing && isOver ? (
        <Empty title="No budget, and no call of a model">
          <p>A new session takes a budget, for all of it and for each agent.</p>
        </Empty>
      ) : (
        <>
          <h3>The session</h3>
          <Budget source={source} whose={undefined} balance={budgets?.session ?? undefined} without="It has no limit of its own." />
          {source.agents.value.map(({ name }) => (
            <div key={name} class="money-agent">
              <h3>
                <Agent name={name} />
              </h3>
              <Budget source={source} whose={name} balance={budgets?.agents[name]} without={withoutLimit(source)} />
            </div>
          ))}
          <h3>Models</h3>
          <Models source={source} />
        </>
      )}
    </div>
  );
}

/** Say what an agent may spend that has no limit. */
export function withoutLimit(source: SessionSource): string {
  return source.budgets.value?.session ? "It has no limit of its own, and spends from the session's." : "It has no limit.";
}

/** The models that were called: how often, with how many tokens, and what was booked. */
export function Models({ source }: { source: SessionSource }) {
  const rows = modelRows(source.timeline.models, source.budgets.value);
  if (!rows.length) return <p class="hint">No model was called{source.past.value ? "" : " yet"}.</p>;
  return (
    <table class="models">
      <thead>
        <tr>
          <th>Model</th>
          <th>Calls</th>
          <th>Tokens</th>
          <th>Booked</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.model}>
            <td>{row.model}</td>
            <td>
              {row.calls.toLocaleString("en")}
              {row.failed > 0 && <span class="bad"> ({row.failed.toLocaleString("en")} failed)</span>}
            </td>
            <td>{tokensOf(row)}</td>
            <td>{row.spent === undefined ? "no budget" : exactDollars(row.spent)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
