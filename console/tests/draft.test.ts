import assert from "node:assert/strict";
import { test } from "node:test";

import {
  again,
  curl,
  emptyDraft,
  faultOf,
  freeName,
  hasBudget,
  proxyFault,
  python,
  textOf,
  valueOf,
  withField,
  withProxy,
} from "../src/create/draft.ts";
import type { AgentOption, AgentState } from "../src/types.ts";

const option = (parts: object) => ({ required: false, transport: "env", ...parts }) as AgentOption;

const judged = (parts: object, text: string) => {
  const given = option(parts);
  return faultOf(given, valueOf(given, text));
};

test("an option's text becomes a value of its type, and text again", () => {
  for (const [type, text, value] of [
    ["string", "a\nb", "a\nb"],
    ["list[string]", "a\nb", ["a", "b"]],
    ["bool", "false", false],
    ["u32", "20", 20],
    ["f64", "2.5", 2.5],
    ["u64", "18446744073709551615", "18446744073709551615"],
    ["i64", "9007199254740993", "9007199254740993"],
    ["list[i8]", "1\n-2", [1, -2]],
  ] as const) {
    const found = valueOf(option({ type }), text);
    assert.deepEqual(found, { type, value });
    assert.equal(textOf(found), text);
  }
});

test("nothing written is no value, which only a required option without a default minds", () => {
  assert.equal(valueOf(option({ type: "u32" }), ""), undefined);
  assert.equal(judged({ type: "u32" }, ""), "");
  assert.equal(judged({ type: "u32", required: true }, ""), "It is required.");
  assert.equal(judged({ type: "u32", required: true, default: 3 }, ""), "");
});

test("values are checked as the server checks them", () => {
  assert.equal(judged({ type: "u8" }, "256"), "It is from 0 to 255.");
  assert.equal(judged({ type: "u8" }, "1.5"), "It is a whole number.");
  assert.equal(judged({ type: "f32" }, "many"), "It is a number.");
  assert.equal(judged({ type: "u32", validation: { min: 1 } }, "0"), "It is at least 1.");
  assert.equal(judged({ type: "list[u32]", validation: { max: 9 } }, "3\n10"), "It is at most 9.");
  assert.equal(judged({ type: "string", validation: { max_length: 3 } }, "héé"), "It has at most 3 bytes.");
  assert.equal(judged({ type: "string", validation: { variants: ["a", "b"] } }, "c"), "It is one of a, b.");
  assert.equal(judged({ type: "string", validation: { regex: "[a-z]+" } }, "a1"), "It has the form [a-z]+");
  assert.equal(judged({ type: "string", validation: { regex: "[a-z]+" } }, "abc"), "");
});

test("a name that is taken gets a number", () => {
  assert.equal(freeName("echo", []), "echo");
  assert.equal(freeName("echo", ["echo", "echo-2"]), "echo-3");
});

test("the code has the request, in words that shell and Python read", () => {
  const draft = emptyDraft("it's");
  assert.match(curl(draft, "http://localhost:5555/"), /"name": "it'\\''s"/);
  const program = python(draft, "http://localhost:5555/");
  assert.match(program, /"deleteOnLastSessionExit": True,/);
  assert.match(program, /"extendedEndReport": False,/);
});

test("a session that has ended becomes a request with its agents and links", () => {
  const agent = (name: string, links: string[]) =>
    ({
      name,
      registryAgentIdentifier: { name: "echo", version: "1.0.0", registrySourceId: { type: "local" } },
      status: { type: "stopped" },
      links,
      annotations: {},
      tokensByModel: {},
    }) as AgentState;
  const whole = again([agent("a", ["b"]), agent("b", ["a"])], "first", { task: "x" });
  assert.deepEqual(whole.agentGraphRequest.groups, [["a", "b"]]);
  assert.deepEqual(whole.annotations, { task: "x" });
  const line = again([agent("a", ["b"]), agent("b", ["a", "c"]), agent("c", ["b"])], "first", {});
  assert.deepEqual(line.agentGraphRequest.groups, [["a", "b"], ["b", "c"]]);
  assert.deepEqual(again([agent("a", [])], "first", {}).agentGraphRequest.groups, []);
});

test("a session that is run again keeps its limits, not what followed at them", () => {
  const agent = {
    name: "a",
    registryAgentIdentifier: { name: "echo", version: "1.0.0", registrySourceId: { type: "local" } },
    status: { type: "stopped" },
    links: [],
    annotations: {},
    tokensByModel: {},
  } as AgentState;
  const balance = (limit: number) => ({ limit, spent: 0, held: 0, available: limit });
  const both = again([agent], "first", {}, { session: balance(2_000_000), agents: { a: balance(1) }, models: {} });
  assert.deepEqual(both.agentGraphRequest.budget, { usd: "2", onReached: "refuse" });
  assert.deepEqual(both.agentGraphRequest.agents[0]?.budget, { usd: "0.000001", onReached: "refuse" });
  const none = again([agent], "first", {}, { session: null, agents: {}, models: {} });
  assert.equal("budget" in none.agentGraphRequest, false);
  assert.deepEqual([hasBudget(both), hasBudget(none)], [true, false]);
});

test("a model is chosen by its provider and its name; one of which nothing is said is not in the request", () => {
  const half = withProxy({}, "MAIN", { modelName: "large" });
  assert.deepEqual(half, { MAIN: { configurationName: "", modelName: "large" } });
  assert.match(proxyFault(half["MAIN"]), /both/);
  const whole = withProxy(half, "MAIN", { configurationName: "openai" });
  assert.equal(proxyFault(whole["MAIN"]), "");
  assert.deepEqual(withProxy(whole, "MAIN", { configurationName: "", modelName: "" }), {});
});

test("a field that has no value is not in the request", () => {
  assert.deepEqual(withField({ one: 1, two: 2 }, "two", undefined), { one: 1 });
  assert.deepEqual(withField({ one: 1, two: 2 }, "two", 3), { one: 1, two: 3 });
});
