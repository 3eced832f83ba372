import assert from "node:assert/strict";
import { test } from "node:test";

import { exactDollars, usdFault } from "../src/money.ts";
import { hasLimit, modelRows, sharesOf, spentOf, standingOf } from "../src/session/spending.ts";
import type { Balance, Budgets } from "../src/types.ts";

const balance = (limit: number, spent: number, held = 0): Balance => ({ limit, spent, held, available: limit - spent - held });

const budgets = (parts: Partial<Budgets>): Budgets => ({ session: null, agents: {}, models: {}, ...parts });

const booked = (calls: number, spent: number) => ({ calls, inputTokens: 10, outputTokens: 4, spent });

const totals = (calls: number) => ({ calls, failed: 0, inputTokens: 30, outputTokens: 9 });

test("amounts have all their places, and two at least", () => {
  for (const [microUsd, text] of [
    [0, "$0.00"],
    [500_000, "$0.50"],
    [312_500, "$0.3125"],
    [1, "$0.000001"],
    [1_234_000_000, "$1,234.00"],
    [-40_000, "−$0.04"],
  ] as const)
    assert.equal(exactDollars(microUsd), text);
});

test("a budget is checked as the server checks it", () => {
  for (const good of ["0", "0.50", "1000000", "1000000.000000", "12.345678"]) assert.equal(usdFault(good), "", good);
  for (const bad of ["", "-1", ".5", "1.", "1e3", "1.2345678", "1000001", "1000000.01", "many"])
    assert.notEqual(usdFault(bad), "", bad);
});

test("what was booked is put beside the calls that are seen, by provider and model", () => {
  const seen = new Map([
    ["gpt", totals(3)],
    ["meta/gpt", totals(1)],
    ["free", totals(9)],
  ]);
  const found = modelRows(seen, budgets({ models: { "a/gpt": booked(2, 50), "b/gpt": booked(1, 5), "a/meta/gpt": booked(1, 70) } }));
  assert.deepEqual(found, [
    { model: "meta/gpt", ...totals(1), spent: 70 },
    { model: "gpt", ...totals(3), spent: 55 },
    { model: "free", ...totals(9) },
  ]);
});

test("what was booked and is not seen has a row of its own; without a budget nothing is booked", () => {
  assert.deepEqual(modelRows(new Map(), budgets({ models: { "a/gpt": booked(2, 50) } })), [
    { model: "a/gpt", failed: 0, ...booked(2, 50) },
  ]);
  assert.deepEqual(modelRows(new Map([["gpt", totals(1)]]), undefined), [{ model: "gpt", ...totals(1) }]);
});

test("spent is the session's, or its agents' where that is more: a limit may be younger than what was spent", () => {
  assert.equal(spentOf(undefined), undefined);
  assert.equal(spentOf(budgets({})), undefined);
  assert.equal(spentOf(budgets({ session: balance(100, 40), agents: { ann: balance(50, 10) } })), 40);
  assert.equal(spentOf(budgets({ session: balance(100, 5), agents: { ann: balance(50, 10), bob: balance(50, 20) } })), 30);
  assert.equal(hasLimit(budgets({ agents: { ann: balance(0, 0) } })), true);
});

test("a bar has its parts of the limit, and is full when more was spent", () => {
  assert.deepEqual(sharesOf(balance(100, 25, 50)), { spent: 0.25, held: 0.5 });
  assert.deepEqual(sharesOf(balance(100, 150, 50)), { spent: 0.75, held: 0.25 });
  assert.deepEqual(sharesOf(balance(0, 0)), { spent: 1, held: 0 });
});

test("a budget is low from 80 % spent on, and used up when nothing is left", () => {
  assert.equal(standingOf(balance(100, 79, 21)), "");
  assert.equal(standingOf(balance(100, 80)), "low");
  assert.equal(standingOf(balance(100, 100)), "used up");
  assert.equal(standingOf(balance(100, 120)), "used up");
  assert.equal(standingOf(balance(0, 0)), "used up");
});
