/** The budget of a new session, or of one of its agents; none when nothing is written. */
import { WHEN_REACHED, usdFault } from "../money.ts";
import type { BudgetRequest } from "../types.ts";

export function BudgetFields(props: {
  id: string;
  label: string;
  placeholder: string;
  budget: BudgetRequest | null | undefined;
  onChange: (budget: BudgetRequest | undefined) => void;
}) {
  const { id, budget } = props;
  const fault = budget ? usdFault(String(budget.usd)) : "";
  const set = (changes: Partial<BudgetRequest>) =>
    props.onChange({ usd: "", onReached: "refuse", ...(budget ?? {}), ...changes });
  return (
    <div class="field-row">
      <div class="field">
        <label for={id}>
          {props.label} <small>US dollars</small>
        </label>
        <input
          id={id}
          inputMode="decimal"
          autocomplete="off"
          placeholder={props.placeholder}
          value={budget ? String(budget.usd) : ""}
          aria-invalid={fault !== ""}
          {...(fault ? { "aria-describedby": `${id}-fault` } : {})}
          onInput={(event) => {
            const usd = event.currentTarget.value;
            if (usd === "") props.onChange(undefined);
            else set({ usd });
          }}
        />
        {fault && (
          <p class="bad" id={`${id}-fault`}>
            {fault}
          </p>
        )}
      </div>
      {budget && (
        <div class="field">
          <label for={`${id}-reached`}>When it is reached</label>
          <select
            id={`${id}-reached`}
            value={budget.onReached ?? "refuse"}
            onChange={(event) => set({ onReached: event.currentTarget.value as BudgetRequest["onReached"] })}
          >
            {Object.entries(WHEN_REACHED).map(([value, words]) => (
              <option key={value} value={value}>
                {words}
              </option>
            ))}
          </select>
        </div>
      )}
    </div>
  );
}
