import assert from "node:assert/strict";
import { test } from "node:test";

import { LONGEST_WAIT_MS, Timeline, firstAtLeast, tokensOf, waitsFor } from "../src/session/model.ts";
import type { SessionEvent } from "../src/types.ts";

const stamp = (ms: number) => new Date(ms).toISOString();

const message = (id: string, sender: string, ms: number, mentions: string[] = []) => ({
  id,
  threadId: "t",
  text: id,
  senderName: sender,
  mentionNames: mentions,
  timestamp: stamp(ms),
});

function of(...events: SessionEvent[]): Timeline {
  const timeline = new Timeline();
  for (const event of events) timeline.add(event);
  return timeline;
}

const started = (name: string, ms: number): SessionEvent => ({ type: "runtime_started", timestamp: stamp(ms), name });
const connected = (name: string, ms: number): SessionEvent => ({ type: "agent_connected", timestamp: stamp(ms), name });
const stopped = (name: string, ms: number): SessionEvent => ({ type: "runtime_stopped", timestamp: stamp(ms), name });
const waits = (name: string, ms: number): SessionEvent => ({
  type: "agent_wait_start",
  timestamp: stamp(ms),
  name,
  filters: [],
});
const sent = (id: string, sender: string, ms: number): SessionEvent => ({
  type: "thread_message_sent",
  timestamp: stamp(ms),
  message: message(id, sender, ms),
});
const opened = (ms: number): SessionEvent => ({
  type: "thread_created",
  timestamp: stamp(ms),
  thread: {
    id: "t",
    name: "plans",
    creatorName: "ann",
    participants: ["ann", "bob"],
    messages: [],
    state: { state: "open" },
    timestamp: stamp(ms),
  },
});

const called = (name: string, ms: number, parts: object = {}): SessionEvent => ({
  type: "llm_proxy_call",
  timestamp: stamp(ms),
  agentName: name,
  modelName: "large",
  providerRequestName: "MAIN",
  statusCode: 200,
  usage: { inputTokens: 10, outputTokens: 4 },
  ...parts,
});

const activities = (timeline: Timeline, name: string) =>
  timeline.lanes.get(name)?.map(({ activity, startMs, endMs }) => [activity, startMs, endMs]);

test("an agent starts, thinks, waits and stops, without a gap", () => {
  const timeline = of(started("ann", 0), connected("ann", 100), waits("ann", 200), stopped("ann", 300));
  assert.deepEqual(activities(timeline, "ann"), [
    ["starting", 0, 100],
    ["thinking", 100, 200],
    ["waiting", 200, 300],
    ["stopped", 300, undefined],
  ]);
});

test("a message ends the wait of its receiver, and arrives when it does", () => {
  const timeline = of(opened(0), connected("bob", 0), waits("bob", 10), sent("m", "ann", 20), {
    type: "agent_wait_stop",
    timestamp: stamp(25),
    name: "bob",
    message: message("m", "ann", 20),
  });
  assert.deepEqual(timeline.sendings[0]?.arrivals, [{ agent: "bob", position: 4, atMs: 25 }]);
  assert.deepEqual(activities(timeline, "bob")?.slice(1), [
    ["waiting", 10, 25],
    ["thinking", 25, undefined],
  ]);
});

test("a wait without a message ends with the next thing that the agent does", () => {
  const timeline = of(opened(0), connected("bob", 0), waits("bob", 10), sent("m", "bob", 500));
  assert.deepEqual(activities(timeline, "bob")?.slice(1), [
    ["waiting", 10, 500],
    ["thinking", 500, undefined],
  ]);
});

test("no wait is longer than waits may be", () => {
  const end = LONGEST_WAIT_MS + 10;
  const timeline = of(connected("bob", 0), waits("bob", 10), stopped("bob", end + 1_000));
  assert.deepEqual(activities(timeline, "bob")?.slice(1), [
    ["waiting", 10, end],
    ["thinking", end, end + 1_000],
    ["stopped", end + 1_000, undefined],
  ]);
});

test("a wait that a message ended later was a function's, as are the next ones: they last as long as they do", () => {
  const [got, end] = [5 * LONGEST_WAIT_MS, 10 * LONGEST_WAIT_MS];
  const answered = (ms: number): SessionEvent => ({
    type: "agent_wait_stop",
    timestamp: stamp(ms),
    name: "bob",
    message: message("m", "ann", ms),
  });
  const timeline = of(connected("bob", 0), waits("bob", 10), answered(got), waits("bob", got + 5), stopped("bob", end));
  assert.deepEqual(activities(timeline, "bob")?.slice(1), [
    ["waiting", 10, got],
    ["thinking", got, got + 5],
    ["waiting", got + 5, end],
    ["stopped", end, undefined],
  ]);
});

test("a second request for the same state is no second stretch, a second wait is", () => {
  const timeline = of(connected("bob", 0), connected("bob", 5), waits("bob", 10), waits("bob", 20));
  assert.deepEqual(activities(timeline, "bob"), [
    ["thinking", 0, 10],
    ["waiting", 10, 20],
    ["waiting", 20, undefined],
  ]);
});

test("what comes after an agent's stop does not revive it; a new start does", () => {
  const timeline = of(started("ann", 0), stopped("ann", 10), waits("ann", 20));
  assert.equal(timeline.activityOf("ann"), "stopped");
  timeline.add(started("ann", 30));
  assert.equal(timeline.activityOf("ann"), "starting");
});

test("a thread knows its messages, who takes part, and its end", () => {
  const timeline = of(
    opened(0),
    sent("m", "ann", 5),
    { type: "thread_participant_removed", timestamp: stamp(6), threadId: "t", name: "bob" },
    { type: "thread_participant_added", timestamp: stamp(7), threadId: "t", name: "cleo" },
    { type: "thread_closed", timestamp: stamp(8), threadId: "t", summary: "done" },
  );
  const thread = timeline.threads.get("t");
  assert.deepEqual([...(thread?.participants ?? [])], ["ann", "cleo"]);
  assert.equal(thread?.sendings.length, 1);
  assert.deepEqual(thread?.closed, { summary: "done", atMs: 8 });
});

test("an agent of which nothing happened has an empty lane", () => {
  const timeline = new Timeline();
  timeline.addAgent("ann");
  assert.deepEqual(activities(timeline, "ann"), []);
  assert.equal(timeline.activityOf("ann"), undefined);
});

test("a call of a model is known by its agent, where its answer came", () => {
  const timeline = of(connected("ann", 0), called("ann", 30), called("ann", 40, { statusCode: 429, usage: {} }));
  const about = { agent: "ann", model: "large", proxy: "MAIN" };
  assert.deepEqual(timeline.calls, [
    { ...about, position: 1, atMs: 30, status: 200, inputTokens: 10, outputTokens: 4 },
    { ...about, position: 2, atMs: 40, status: 429 },
  ]);
});

test("calls are summed by model, failed ones and tokens that were not told too", () => {
  const timeline = of(
    called("ann", 0),
    called("bob", 1),
    called("bob", 2, { statusCode: 500, usage: { inputTokens: null } }),
    called("bob", 3, { modelName: "small", usage: { outputTokens: 1 } }),
  );
  assert.deepEqual([...timeline.models], [
    ["large", { calls: 3, failed: 1, inputTokens: 20, outputTokens: 8 }],
    ["small", { calls: 1, failed: 0, inputTokens: 0, outputTokens: 1 }],
  ]);
});

test("a call has a lane, and ends no wait: the answer of a stream is known after the agent has read it", () => {
  const timeline = of(connected("bob", 0), waits("bob", 10), called("bob", 11), called("ann", 12));
  assert.equal(timeline.activityOf("bob"), "waiting");
  assert.deepEqual([...timeline.lanes.keys()], ["bob", "ann"]);
});

test("tokens are said as far as they are known", () => {
  assert.equal(tokensOf({ inputTokens: 1_200, outputTokens: 4 }), "1,200 tokens in, 4 out");
  assert.equal(tokensOf({ outputTokens: 4 }), "0 tokens in, 4 out");
  assert.equal(tokensOf({ inputTokens: null }), "no tokens told");
});

test("what a wait is for is said in words", () => {
  assert.equal(waitsFor([]), "any message");
  assert.equal(waitsFor([{ type: "from", name: "ann" }]), "a message from ann");
  assert.equal(waitsFor([{ type: "mentions", name: "bob" }]), "a message that mentions bob");
});

test("ten thousand entries are taken in one by one", () => {
  const timeline = of(opened(0));
  for (let number = 1; number < 10_000; number++) timeline.add(sent(`m${number}`, number % 2 ? "ann" : "bob", number));
  assert.equal(timeline.threads.get("t")?.sendings.length, 9_999);
  assert.equal(firstAtLeast(timeline.sendings, (each) => each.atMs, 5_000), 4_999);
});
