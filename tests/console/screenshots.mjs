// The pictures of docs/console: four agents write a paragraph, and the console looks on.
import { launch, open } from "./browser.mjs";

const URL = process.env.ATOLL_URL;
const FOLDER = process.env.PICTURES;

const browser = await launch();
const { context, page } = await open(browser, URL, { viewport: { width: 1280, height: 930 } });
await context.request.post(`${URL}/api/v1/auth/token`, { form: { token: process.env.ATOLL_API_KEY }, maxRedirects: 0 });

async function call(method, path, body) {
  const answer = await context.request.fetch(`${URL}/api/v1/${path}`, {
    method,
    data: body,
    headers: { Authorization: `Bearer ${process.env.ATOLL_API_KEY}`, "Content-Type": "application/json" },
  });
  if (!answer.ok()) throw new Error(`${path}: ${await answer.text()}`);
  const text = await answer.text();
  return text ? JSON.parse(text) : undefined;
}

const VERSIONS = { researcher: "1.4.0", writer: "2.0.1", critic: "1.0.0", puppet: "1.0.0", echo: "1.0.0" };

function agent(kind, part, name = kind, budget = undefined) {
  return {
    id: { name: kind, version: VERSIONS[kind], registrySourceId: { type: "local" } },
    name,
    provider: { type: "local", runtime: "executable" },
    ...(budget ? { budget: { usd: budget, onReached: "refuse" } } : {}),
    ...(part ? { options: { PART: { type: "string", value: JSON.stringify(part) } } } : {}),
  };
}

async function session(namespace, agents, annotations, { execution, budget } = {}) {
  const made = await call("POST", "local/session", {
    agentGraphRequest: { agents, groups: [agents.map((each) => each.name)], budget },
    namespaceProvider: {
      type: "create_if_not_exists",
      namespaceRequest: { name: namespace, deleteOnLastSessionExit: false },
    },
    execution: execution ?? { mode: "immediate", runtimeSettings: { ttl: 3_600_000 } },
    annotations,
  });
  return made.sessionId;
}

const say = (thinkMs, to, text) => ({ thinkMs, to, text });

const id = await session(
  "newsroom",
  [
    agent("puppet", null, "editor"),
    agent("researcher", [
      say(1900, ["writer"], "Three facts, each with its source:\n\n1. An atoll is a **ring of coral** around a lagoon (Darwin, 1842).\n2. The island in its middle has sunk; the reef grew on.\n3. The largest, *Kiritimati*, has 388 km² of land."),
      say(1200, ["critic"], "Darwin says *subsidence*; drilling at Enewetak in 1952 found basalt under **1,400 m** of reef."),
    ]),
    agent("writer", [
      say(2600, ["critic"], "Draft:\n\n> An atoll is what a sunken island leaves behind: a ring of coral that kept growing while the mountain inside it went down."),
      say(1700, ["editor", "critic"], "Revised:\n\n> An atoll is a ring of coral around a lagoon. The island that it once framed has sunk, and the reef grew on, at Enewetak by 1,400 m."),
    ], "writer", "0.02"),
    agent("critic", [
      say(1400, ["researcher"], "“Kept growing” needs a figure. How thick is the reef that grew?"),
      say(900, ["writer"], "Good: `1,400 m` it is. Say where, too."),
      say(800, ["editor"], "Every claim has its source now."),
    ]),
  ],
  { task: "paragraph on atolls", issue: "118" },
  { budget: { usd: "0.05", onReached: "close_session" } },
);
for (const task of ["weather column", "letters to the editor"])
  await session("newsroom", [agent("writer"), agent("critic")], { task }, { execution: { mode: "defer" } });
const earlier = [];
for (const task of ["headline for page 3", "caption of the harbour"])
  earlier.push(await session("newsroom", [agent("echo", null, "writer"), agent("puppet", null, "editor")], { task }));

const shoot = (name) => page.screenshot({ path: `${FOLDER}/${name}.png` });
const place = `${URL}/ui/console/`;

await page.goto(`${place}#/ns/newsroom/session/${id}`);
for (const name of ["researcher", "writer", "critic"])
  await page.locator(`[data-lane="${name}"].span-waiting`).first().waitFor({ state: "attached", timeout: 60_000 });
const puppet = `puppet/newsroom/${id}/editor/thread`;
const open_ = (threadName) =>
  call("POST", puppet, { threadName, participantNames: ["researcher", "writer", "critic"] }).then((made) => made.thread.id);
const speak = (threadId, content, mentions) => call("POST", `${puppet}/message`, { threadId, content, mentions });
const facts = await open_("the paragraph");
await speak(facts, "We need one paragraph on **what an atoll is**. @researcher, what do we know?", ["researcher"]);
await page.getByText("Every claim has its source now.").waitFor({ timeout: 60_000 });
const next = await open_("the next one");
await speak(next, "Thank you. Next: how old are they?", ["researcher"]);
await page.locator(".thread-name", { hasText: "the paragraph" }).waitFor();
await page.waitForTimeout(1_200);
await shoot("session");

await page.goto(`${place}#/ns/newsroom`);
await page.getByText("letters to the editor").waitFor();
await page.waitForTimeout(800);
await shoot("sessions");

await page.goto(`${place}#/new?ns=newsroom&again=${id}`);
await page.locator("#agent-3-name").waitFor();
const writer = page.locator(".agent-form").nth(3);
for (const part of ["Models", "Budget"]) await writer.getByText(part).first().click();
await writer.evaluate((form) => form.scrollIntoView({ block: "center" }));
await page.waitForTimeout(300);
await shoot("new-session");

await page.goto(`${place}#/registry/researcher/1.4.0`);
await page.getByText("SOURCES_KEY").waitFor();
await shoot("agents");

await call("DELETE", `local/session/newsroom/${id}`);
await page.goto(`${place}#/ns/newsroom/session/${id}?tab=report`);
await page.getByText("closed by a user").waitFor({ timeout: 60_000 });
await page.getByRole("button", { name: "Dark colours" }).click();
await page.getByRole("button", { name: "Order" }).click();
await page.waitForTimeout(300);
await shoot("report");

await browser.close();
