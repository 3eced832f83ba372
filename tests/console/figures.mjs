// What `make bench ONLY=console` measures in a browser: how soon pages are there, how they scroll, how soon events show.
import { launch, open } from "./browser.mjs";

const { ATOLL_URL: URL, ATOLL_API_KEY: KEY, NAMESPACE, SESSION, SPEAKER, ENTRIES, SESSIONS } = process.env;
const SENDS = 20;
const SCROLL_MS = 3_000;

const headers = { Authorization: `Bearer ${KEY}`, "Content-Type": "application/json" };
const median = (values) => values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)];

const browser = await launch();

/** Open a place in a browser that knows nothing of it yet but the sign-in; return the page. */
async function fresh(place) {
  const { context, page, faults } = await open(browser, URL);
  await context.request.post(`${URL}/api/v1/auth/token`, { form: { token: KEY }, maxRedirects: 0 });
  await page.goto(`${URL}/ui/console/#${place}`);
  return { context, page, faults };
}

/** Wait, in the page, until something is true of it; return the milliseconds since it was asked for. */
async function reached(page, condition, argument) {
  try {
    await page.waitForFunction(condition, argument, { polling: "raf", timeout: 30_000 });
  } catch (error) {
    throw new Error(`${error.message}; the page says: ${(await page.locator("body").innerText()).slice(0, 500)}`);
  }
  return page.evaluate("performance.now()");
}

async function listed() {
  const { context, page } = await fresh(`/ns/${NAMESPACE}`);
  const rows_ms = await reached(page, (all) => document.querySelector(".count")?.textContent.includes(`of ${all}`), Number(SESSIONS).toLocaleString("en"));
  const first_paint_ms = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
  await context.close();
  return { first_paint_ms, rows_ms };
}

async function opened() {
  const { context, page } = await fresh(`/ns/${NAMESPACE}/session/${SESSION}`);
  const lanes_ms = await reached(page, () => document.querySelector("[data-lane]"));
  const all_ms = await reached(
    page,
    (least) => Number(document.querySelector('[data-tab="events"]')?.textContent.replace(/\D/g, "")) >= least,
    Number(ENTRIES),
  );
  await page.getByRole("tab", { name: /Events/ }).click();
  const frames = await page.evaluate(scrolled, SCROLL_MS);
  await page.getByRole("tab", { name: /Threads/ }).click();
  const shown = [];
  for (let count = 0; count < SENDS; count++) shown.push(await until(page, `seen ${Date.now()}-${count}.`));
  await context.close();
  return { lanes_ms, all_ms, frames_per_s: frames, shown_ms: median(shown) };
}

/** In the page: scroll the list of events from frame to frame; return how many frames a second were drawn. */
function scrolled(forMs) {
  const list = [...document.querySelectorAll("*")].find((each) => each.scrollHeight > 50_000 && getComputedStyle(each).overflowY !== "visible");
  return new Promise((resolve) => {
    const begun = performance.now();
    let frames = 0;
    const step = (at) => {
      list.scrollTop += 90;
      frames++;
      if (at - begun < forMs) requestAnimationFrame(step);
      else resolve((frames * 1_000) / (at - begun));
    };
    requestAnimationFrame(step);
  });
}

/** Send a message; return the milliseconds from its acknowledgement until the page has it. */
async function until(page, text) {
  const seen = page.evaluate(
    (wanted) =>
      new Promise((resolve) => {
        const look = () => (document.body.textContent.includes(wanted) ? resolve(Date.now()) : requestAnimationFrame(look));
        look();
      }),
    text,
  );
  const [namespace, session, agent, threadId] = [NAMESPACE, SESSION, SPEAKER, process.env.THREAD];
  const answer = await fetch(`${URL}/api/v1/puppet/${namespace}/${session}/${agent}/thread/message`, {
    method: "POST",
    headers,
    body: JSON.stringify({ threadId, content: text, mentions: [] }),
  });
  if (!answer.ok) throw new Error(await answer.text());
  const at = Date.now();
  return Math.max(0, (await seen) - at);
}

const rounds = [];
for (let count = 0; count < 3; count++) rounds.push({ ...(await listed()), ...(await opened()) });
await browser.close();
console.log(JSON.stringify(Object.fromEntries(Object.keys(rounds[0]).map((name) => [name, median(rounds.map((round) => round[name]))]))));
