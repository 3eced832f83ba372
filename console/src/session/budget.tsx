/** A budget: what has become of it, as a bar and in words, and another limit in its place. */
import { useSignal } from "@preact/signals";

import { messageOf } from "../api.ts";
import { WHEN_REACHED, exactDollars, usdFault } from "../money.ts";
import type { Balance, NewLimits } from "../types.ts";
import { Button, tell } from "../ui.tsx";
import type { SessionSource } from "./source.ts";
import { sharesOf, standingOf } from "./spending.ts";

/** The name of an agent; without one, the session itself. */
type Whose = string | undefined;

/** The budget of an agent or of the session, with the place to change it; `without` says what none means. */
export function Budget(props: { source: SessionSource; whose: Whose; balance: Balance | undefined; without: string }) {
  const { source, whose, balance } = props;
  const open = useSignal(false);
  const isOver = source.past.value !== undefined || source.state.value?.status.type === "closing";
  const name = whose ?? "the session";
  const change = balance ? "Change the limit" : "Set a limit";
  return (
    <section class="budget" aria-label={`Budget of ${name}`}>
      {balance ? <Bar balance={balance} name={name} /> : <p class="hint">{props.without}</p>}
      {!isOver && !open.value && (
        <Button kind="quiet" aria-label={`${change} of ${name}`} onClick={() => (open.value = true)}>
          {change}
        </Button>
      )}
      {!isOver && open.value && <NewLimit {...props} onDone={() => (open.value = false)} />}
    </section>
  );
}

function Bar({ balance, name }: { balance: Balance; name: string }) {
  const { spent, held } = sharesOf(balance);
  const standing = standingOf(balance);
  const figures: [string, number][] = [
    ["spent", balance.spent],
    ["held", balance.held],
    ["available", balance.available],
    ["limit", balance.limit],
  ];
  const said = figures.map(([what, amount]) => `${what} ${exactDollars(amount)}`).join(", ");
  return (
    <>
      <svg class="budget-bar" viewBox="0 0 100 8" preserveAspectRatio="none" role="img" aria-label={`Budget of ${name}: ${said}`}>
        <rect class={`spent ${standing ? "spent-low" : ""}`} width={spent * 100} height="8" />
        <rect class="held" x={spent * 100} y="1.5" width={held * 100} height="5" />
      </svg>
      <dl class="amounts">
        {figures.map(([what, amount]) => (
          <div key={what}>
            <dt>{what}</dt>
            <dd>{exactDollars(amount)}</dd>
          </div>
        ))}
      </dl>
      {standing && <strong class="standing">{standing}</strong>}
    </>
  );
}

function NewLimit(props: { source: SessionSource; whose: Whose; balance: Balance | undefined; onDone: () => void }) {
  const { source, whose, balance } = props;
  const usd = useSignal(balance ? (balance.limit / 1_000_000).toString() : "");
  const onReached = useSignal("");
  const fault = useSignal("");
  const busy = useSignal(false);
  const id = `limit-${whose ?? ""}`;
  const save = async () => {
    fault.value = usdFault(usd.value);
    if (fault.value) return;
    busy.value = true;
    const limit = { usd: usd.value, ...(onReached.value ? { onReached: onReached.value } : {}) };
    try {
      await source.changeBudget((whose === undefined ? { session: limit } : { agents: { [whose]: limit } }) as NewLimits);
      tell("The limit is set.");
      props.onDone();
    } catch (error) {
      fault.value = messageOf(error);
      busy.value = false;
    }
  };
  return (
    <form
      class="new-limit"
      onSubmit={(event) => {
        event.preventDefault();
        void save();
      }}
    >
      <div class="field">
        <label for={id}>
          Limit <small>US dollars</small>
        </label>
        <input
          id={id}
          inputMode="decimal"
          autocomplete="off"
          value={usd.value}
          aria-invalid={fault.value !== ""}
          {...(fault.value ? { "aria-describedby": `${id}-fault` } : {})}
          onInput={(event) => (usd.value = event.currentTarget.value)}
        />
      </div>
      <div class="field">
        <label for={`${id}-reached`}>When it is reached</label>
        <select id={`${id}-reached`} value={onReached.value} onChange={(event) => (onReached.value = event.currentTarget.value)}>
          <option value="">{balance ? "as it was" : WHEN_REACHED.refuse}</option>
          {Object.entries(WHEN_REACHED)
            .filter(([value]) => balance || value !== "refuse")
            .map(([value, words]) => (
              <option key={value} value={value}>
                {words}
              </option>
            ))}
        </select>
      </div>
      <div class="inline">
        <Button kind="primary" type="submit" disabled={busy.value}>
          Set the limit
        </Button>
        <Button kind="quiet" onClick={props.onDone}>
          Cancel
        </Button>
      </div>
      {fault.value && (
        <p class="bad" role="alert" id={`${id}-fault`}>
          {fault.value}
        </p>
      )}
    </form>
  );
}
