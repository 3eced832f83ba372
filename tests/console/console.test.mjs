// The whole of the console, as somebody uses it: one browser, one stack (ATOLL_URL), one session from its form to its
// history. Steps build on each other.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { test } from "node:test";

import { launch, open } from "./browser.mjs";

const URL = process.env.ATOLL_URL;
const KEY = process.env.ATOLL_API_KEY;
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const receiver = createServer((request, response) => request.resume().on("end", () => response.end()));
await new Promise((resolve) => receiver.listen(0, "127.0.0.1", resolve));
const browser = await launch();
const { context, page, faults } = await open(browser, URL);
let broken = false;

/** Look at what is shown for what people with other senses would miss. */
async function accessible(where) {
  const found = await page.evaluate(`${axe}; axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] })`);
  const said = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ").slice(0, 400)}`);
  assert.deepEqual(said, [], where);
}

async function fitsNarrow(where) {
  await page.setViewportSize({ width: 360, height: 720 });
  const width = await page.evaluate("document.documentElement.scrollWidth");
  await accessible(`${where}, narrow`);
  await page.setViewportSize({ width: 1440, height: 900 });
  assert.ok(width <= 360, `${where} is ${width} px wide in a window of 360`);
}

const button = (name) => page.getByRole("button", { name, exact: true });
const tab = (name) => page.getByRole("tab", { name });

/** Steps build on each other: after one that fails the others are left out. */
async function step(name, act) {
  await test(name, { skip: broken }, async () => {
    broken = true;
    await act();
    assert.deepEqual(faults.splice(0), [], "errors in the browser");
    broken = false;
  });
}

await step("without a key there is a sign-in, which says when the key is wrong", async () => {
  await page.goto(`${URL}/ui/console/`);
  await page.getByLabel("API key").fill("not a key");
  await button("Sign in").click();
  await page.getByRole("alert").waitFor();
  await accessible("sign-in");
  await page.getByLabel("API key").fill(KEY);
  await button("Sign in").click();
  await page.getByRole("heading", { name: "No namespace yet" }).waitFor();
  await accessible("no namespace");
});

await step("a form made of the registry makes a session, and JSON is the same both ways", async () => {
  await page.getByRole("link", { name: "New session" }).first().click();
  await button("puppet").click();
  await button("echo").click();
  await page.locator("#agent-0-name").fill("ann");
  await page.locator("#agent-1-name").fill("bob");
  await page.getByLabel("Namespace").fill("console");
  await page.locator(".agent-form").nth(1).getByText("Options").click();
  const answers = page.getByLabel("Answers");
  await answers.fill("many");
  await page.getByText("It is a whole number.").waitFor();
  await answers.fill("7");
  await page.getByLabel("Readable after its end").selectOption("none");
  await page.getByLabel("Webhook for the end report").fill(`http://127.0.0.1:${receiver.address().port}/`);
  const json = page.getByLabel("The request as JSON");
  const request = JSON.parse(await json.inputValue());
  assert.deepEqual(request.agentGraphRequest.groups, [["ann", "bob"]]);
  assert.deepEqual(request.agentGraphRequest.agents[1].options, { ITERATION_COUNT: { type: "u32", value: 7 } });
  await json.fill("{");
  await page.getByRole("alert").waitFor();
  await json.fill(JSON.stringify({ ...request, annotations: { task: "greet" } }));
  await page.getByLabel("Remove task").waitFor();
  await tab("curl").click();
  await page.getByText("/api/v1/local/session").waitFor();
  await tab("JSON").click();
  await accessible("new session");
  await fitsNarrow("new session");
  await button("Create and start").click();
  await page.getByRole("figure", { name: "Timeline" }).waitFor();
});

await step("a session is followed live: its agents come up, in lanes of their own", async () => {
  await page.getByText("live", { exact: true }).waitFor();
  await page.locator('[data-lane="bob"].span-waiting').first().waitFor({ state: "attached", timeout: 60_000 });
  await page.locator('[data-lane="ann"].span-thinking').first().waitFor({ state: "attached", timeout: 60_000 });
});

await step("somebody speaks in an agent's name, and is answered on the timeline", async () => {
  await button("New thread").click();
  await page.getByLabel("Name", { exact: true }).fill("greetings");
  await accessible("new thread");
  await button("Open thread").click();
  await page.getByRole("heading", { name: "greetings" }).waitFor();
  await page.getByLabel("@bob").check();
  await page.getByLabel("Message in the name of ann").fill("Hello **bob** <img src=https://example.com/x> <script>alert(1)</script>");
  await button("Send").click();
  const messages = page.getByRole("log");
  await messages.locator("strong", { hasText: "bob" }).first().waitFor();
  await messages.getByText("nice message!").waitFor();
  assert.equal(await messages.locator("img, script").count(), 0);
  assert.ok((await page.locator(".arrow").count()) >= 2);
  await page.locator(".dot").first().hover();
  await page.getByRole("tooltip").getByText("greetings").waitFor();
  await page.locator(".dot").first().click();
  await page.getByRole("dialog").getByText("thread_message_sent").waitFor();
  await accessible("raw JSON");
  await button("To its thread").click();
  await page.getByRole("dialog").waitFor({ state: "detached" });
});

await step("the timeline is zoomed, moved, paused and followed again", async () => {
  const ticks = () => page.locator(".ticks text").allTextContents();
  const before = await ticks();
  await button("Show less").click();
  assert.notDeepEqual(await ticks(), before);
  await page.getByRole("button", { name: "Follow" }).click();
  await page.getByRole("button", { name: "Pause" }).click();
  await button("Order").click();
  assert.match((await ticks()).join(), /#/);
  await page.getByRole("group", { name: /Lanes/ }).press("+");
  await page.getByRole("group", { name: /Lanes/ }).press("0");
  await button("Time").click();
});

await step("every place has a link that survives a reload", async () => {
  await tab(/Agents/).click();
  await button("Log of this one").nth(1).click();
  await page.reload();
  await page.getByRole("region", { name: "Log of bob" }).getByText("answered ann").waitFor();
  await accessible("agents");
  await tab(/Events/).click();
  await page.getByLabel("Type").selectOption("thread_message_sent");
  await page.getByText("2 of", { exact: false }).waitFor();
  await page.getByLabel("Search events").fill("nice");
  await page.getByText("1 of", { exact: false }).waitFor();
  await accessible("events");
  await tab("Graph").click();
  await page.getByRole("img", { name: "Agents and their links" }).waitFor();
  await accessible("graph");
});

await step("it reads well in the dark and in a narrow window", async () => {
  await tab(/Threads/).click();
  await page.getByRole("log").waitFor();
  await accessible("session");
  await button("Dark colours").click();
  await accessible("session, dark");
  await fitsNarrow("session");
  await button("Light colours").click();
});

await step("the list of sessions is live, is searched, and says when it is not live", async () => {
  await page.getByRole("link", { name: "console", exact: true }).click();
  const rows = page.getByRole("listitem");
  await rows.getByText("bob").waitFor();
  await accessible("sessions");
  await fitsNarrow("sessions");
  const made = await context.request.post(`${URL}/api/v1/local/session`, {
    headers: { Authorization: `Bearer ${KEY}` },
    data: {
      agentGraphRequest: { agents: [] },
      namespaceProvider: { type: "use_existing", name: "console" },
      execution: { mode: "defer" },
      annotations: { task: "later" },
    },
  });
  assert.equal(made.status(), 200);
  await rows.getByText("later").waitFor();
  await page.getByLabel("Search sessions").fill("later");
  await page.getByText("1 of 2").waitFor();
  await page.getByLabel("State").selectOption("executed");
  await page.getByText("No session is like that").waitFor();
  await page.routeWebSocket(/lsm/, (socket) => socket.close());
  await page.reload();
  await page.getByText("not live").waitFor();
  assert.equal(await page.getByLabel("Search sessions").inputValue(), "later");
  await page.unrouteAll();
});

await step("Ctrl-K leads to a session, and a deferred one is executed", async () => {
  const goTo = async (task) => {
    await page.keyboard.press("Control+k");
    await page.getByRole("combobox", { name: "Go to" }).fill(`session ${task}`);
    await page.getByRole("option", { name: new RegExp(task) }).waitFor();
    await accessible("go to");
    await page.keyboard.press("Enter");
    await page.locator(".session-head").getByText(task).waitFor();
  };
  await goTo("later");
  await button("Execute").click();
  await page.getByText("its agents exited").waitFor({ timeout: 60_000 });
  await goTo("greet");
});

await step("an agent is ended, and the session is closed and becomes history in place", async () => {
  await tab(/Agents/).click();
  await button("End agent").nth(1).click();
  await button("End bob?").click();
  await page.locator(".agent-card").nth(1).getByText("stopped").waitFor();
  await button("Close", { exact: true }).click();
  await button("Really close?").click();
  await page.getByText("closed by a user").waitFor({ timeout: 60_000 });
  await page.getByRole("region", { name: "Log" }).getByText("agent started").first().waitFor();
  await button("Log of this one").first().click();
  await page.getByRole("region", { name: "Log of ann" }).getByText("agent started").waitFor();
  await tab(/Threads/).click();
  await page.getByRole("log").getByText("nice message!").waitFor();
  await tab("Report").click();
  await button("End report as JSON").waitFor();
  await accessible("report");
});

await step("the end report was delivered, and is sent again", async () => {
  await tab("Deliveries").click();
  await page.getByText("delivered").waitFor({ timeout: 60_000 });
  await accessible("deliveries");
  await button("Send again").click();
  await page.getByRole("row").nth(2).waitFor({ timeout: 30_000 });
});

await step("it is found again in the history, and run again", async () => {
  await page.getByRole("link", { name: "console", exact: true }).click();
  const ended = page.getByRole("listitem").filter({ hasText: "closed by a user" });
  await ended.waitFor();
  await accessible("history");
  await ended.getByRole("link").click();
  await page.getByRole("figure", { name: "Timeline" }).waitFor();
  await page.getByRole("link", { name: "Run again" }).click();
  await page.getByText("Its options are not kept").waitFor();
  assert.equal(await page.locator("#agent-1-name").inputValue(), "bob");
  await page.getByRole("link", { name: "New session" }).first().click();
  await page.getByText("A session needs an agent").waitFor(); // another one, with nothing of that
});

await step("an agent is added by its TOML, with its errors in place, and removed", async () => {
  await page.getByRole("link", { name: "Agents", exact: true }).click();
  await button("Add an agent").click();
  const text = page.getByLabel("coral-agent.toml");
  const example = await text.inputValue();
  await text.fill(example.replace("edition = 4", "edition = four"));
  await button("Add").click();
  await page.getByRole("alert").waitFor();
  await accessible("add an agent");
  await text.fill(example);
  await button("Add").click();
  await page.getByRole("heading", { name: "my-agent" }).waitFor();
  await accessible("registry");
  await fitsNarrow("registry");
  await button("Remove").click();
  await button("Remove my-agent 1.0.0?").click();
  await page.getByRole("link", { name: /my-agent/ }).waitFor({ state: "detached" });
});

/** Open a thread in the name of a session's agent `ann`, and say something in it to `bob`. */
async function askBob(session, text) {
  const call = async (path, data) => {
    const answer = await context.request.post(`${URL}/api/v1/puppet/money/${session}/ann/thread${path}`, {
      headers: { Authorization: `Bearer ${KEY}` },
      data,
    });
    assert.equal(answer.status(), 200, await answer.text());
    return answer.json();
  };
  const { thread } = await call("", { threadName: text, participantNames: ["bob"] });
  await call("/message", { threadId: thread.id, content: text, mentions: ["bob"] });
}

let spending = "";

await step("a form gives a session and an agent their budgets, and names the agent's model", async () => {
  await page.getByRole("link", { name: "New session" }).first().click();
  await page.getByLabel("Namespace").fill("money");
  await button("puppet").click();
  await button("writer").click();
  await page.locator("#agent-0-name").fill("ann");
  await page.locator("#agent-1-name").fill("bob");
  const bob = page.locator(".agent-form").nth(1);
  for (const part of ["Options", "Models", "Budget"]) await bob.getByText(part, { exact: false }).first().click();
  await bob.getByLabel("Part").fill(JSON.stringify([1, 2].map((line) => ({ thinkMs: 0, to: ["ann"], text: `line ${line}` }))));
  await bob.getByLabel("configurationName").fill("openai");
  await bob.getByText("Name both").waitFor();
  await bob.getByLabel("modelName").fill("gpt-4.1");
  await bob.getByLabel("Limit of this agent").fill("0.5");
  const limit = page.getByLabel("Limit of the session");
  await limit.fill("1e3");
  await page.getByText("at most 6 decimal places").waitFor();
  await limit.fill("1.50");
  await page.locator("#budget-reached").selectOption("close_session");
  await page.getByLabel("Readable after its end").selectOption("none");
  await page.getByLabel("Webhook for budgets").fill(`http://127.0.0.1:${receiver.address().port}/`);
  const { agentGraphRequest: graph, execution } = JSON.parse(await page.getByLabel("The request as JSON").inputValue());
  assert.deepEqual(graph.budget, { usd: "1.50", onReached: "close_session" });
  assert.deepEqual(graph.agents[1].budget, { usd: "0.5", onReached: "refuse" });
  assert.deepEqual(graph.agents[1].proxies, { MAIN: { configurationName: "openai", modelName: "gpt-4.1" } });
  assert.ok(execution.runtimeSettings.webhooks.budgetReached.url);
  assert.ok(await bob.getByLabel("modelName").isVisible(), "what was unfolded stays so when nothing is wrong with it any more");
  await accessible("new session with budgets");
  await fitsNarrow("new session with budgets");
  await button("Create and start").click();
  await page.locator('[data-lane="bob"].span-waiting').first().waitFor({ state: "attached", timeout: 60_000 });
  spending = /session\/([^?]+)/.exec(page.url())[1];
});

await step("a call of a model is on the timeline, and its money in the bars; a limit is raised in place", async () => {
  await askBob(spending, "What is an atoll?");
  const call = page.locator(".calls .call").first();
  await call.hover();
  await page.getByRole("tooltip").getByText("bob called gpt-4.1").waitFor();
  await call.click();
  await page.getByRole("dialog").getByText("llm_proxy_call").waitFor();
  await page.keyboard.press("Escape");
  await tab("Money").click();
  const ours = page.getByRole("region", { name: "Budget of the session" });
  const row = page.getByRole("row", { name: /gpt-4.1/ });
  await row.getByText(/^\$0\.004/).waitFor();
  await page.getByText(/spent \$0\.004\d* of \$1\.50/).waitFor();
  await ours.getByText("$1.50", { exact: true }).waitFor();
  await page.getByRole("region", { name: "Budget of bob" }).getByText("$0.50", { exact: true }).waitFor();
  await button("Change the limit of the session").click();
  await ours.getByLabel("Limit US dollars").fill("0.001");
  await button("Set the limit").click();
  await ours.getByRole("alert").getByText("are spent").waitFor();
  await accessible("another limit");
  await ours.getByLabel("Limit US dollars").fill("2.5");
  await button("Set the limit").click();
  await ours.getByText("$2.50", { exact: true }).waitFor();
  await accessible("money");
  await fitsNarrow("money");
  await tab(/Agents/).click();
  await page.locator(".agent-card").nth(1).getByRole("img", { name: /Budget of bob: spent \$0\.004\d*, held/ }).waitFor();
  await page.locator(".agent-card").nth(1).getByText("openai/gpt-4.1").waitFor();
  await accessible("agents with budgets");
});

await step("a limit that is reached closes the session, and its money is in the history", async () => {
  await tab("Money").click();
  await button("Change the limit of the session").click();
  await page.getByRole("region", { name: "Budget of the session" }).getByLabel("Limit US dollars").fill("0.005");
  await button("Set the limit").click();
  await page.getByText(/spent \$0\.004\d* of \$0\.005$/).waitFor();
  await askBob(spending, "And how old are they?");
  await page.getByText("its budget was reached").waitFor({ timeout: 60_000 });
  await page.getByRole("row", { name: /gpt-4.1/ }).waitFor();
  await page.getByText("low", { exact: true }).waitFor();
  assert.equal(await page.getByRole("button", { name: /limit of/ }).count(), 0);
  await tab("Report").click();
  await page.getByText("calls of models").waitFor();
  await accessible("report with money");
  await page.getByRole("link", { name: "money", exact: true }).click();
  const ended = page.getByRole("listitem").filter({ hasText: "its budget was reached" });
  await ended.getByText(/spent \$0\.004\d of \$0\.0050/).waitFor();
});

await step("after signing out nothing is shown", async () => {
  await button("Sign out").click();
  await page.getByLabel("API key").waitFor();
  await page.reload();
  await page.getByLabel("API key").waitFor();
});

await browser.close();
receiver.close();
