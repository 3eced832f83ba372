import assert from "node:assert/strict";
import { test } from "node:test";

import { moved, orderTicks, timeTicks, within, zoomed } from "../src/session/scale.ts";

const MOST = { from: 0, to: 1_000 };

test("zooming keeps what is under the pointer where it is", () => {
  assert.deepEqual(zoomed(MOST, 250, 0.5, 1, MOST), { from: 125, to: 625 });
});

test("zooming goes neither below the least nor beyond the whole", () => {
  assert.deepEqual(zoomed({ from: 100, to: 104 }, 100, 0.1, 2, MOST), { from: 100, to: 102 });
  assert.deepEqual(zoomed({ from: 100, to: 900 }, 500, 10, 1, MOST), MOST);
});

test("moving stops at both ends", () => {
  assert.deepEqual(moved({ from: 100, to: 200 }, -500, MOST), { from: 0, to: 100 });
  assert.deepEqual(moved({ from: 100, to: 200 }, 5_000, MOST), { from: 900, to: 1_000 });
});

test("a range wider than the whole is the whole", () => {
  assert.deepEqual(within({ from: -5_000, to: 5_000 }, MOST), MOST);
});

test("marks of time are round, few, and counted from the session's beginning", () => {
  assert.deepEqual(
    timeTicks({ from: 1_000_400, to: 1_004_600 }, 1_000_000, 5).map((tick) => tick.label),
    ["1 s", "2 s", "3 s", "4 s"],
  );
  assert.deepEqual(
    timeTicks({ from: 0, to: 300_000 }, 0, 6).map((tick) => tick.label),
    ["0 s", "1:00 min", "2:00 min", "3:00 min", "4:00 min", "5:00 min"],
  );
  assert.deepEqual(
    timeTicks({ from: 0, to: 8 }, 0, 4).map((tick) => tick.label),
    ["0.000 s", "0.002 s", "0.004 s", "0.006 s", "0.008 s"],
  );
});

test("marks of order are whole numbers, as few as there is room for", () => {
  assert.deepEqual(
    orderTicks({ from: 0, to: 4 }, 8).map((tick) => tick.label),
    ["#1", "#2", "#3", "#4", "#5"],
  );
  for (const width of [1, 7, 80, 999, 12_345]) {
    assert.ok(orderTicks({ from: 0, to: width }, 8).length <= 9, `${width}`);
  }
});
