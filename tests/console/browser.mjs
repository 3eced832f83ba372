// A browser for the tests and the pictures: the one that Debian has, else the one that a package of npm carries.
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";

import { chromium } from "playwright-core";

const INSTALLED = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** What the process ends with where no browser can be had. */
export const NO_BROWSER = 77;

/** Start a browser without a window; the process ends with `NO_BROWSER`, and why, when there is none. */
export async function launch() {
  try {
    return await chromium.launch({
      executablePath: INSTALLED.find((path) => existsSync(path)) ?? (await packaged()),
      // Containers run it as root, where Chromium has no sandbox.
      args: ["--no-sandbox", "--headless=shell", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"],
    });
  } catch (error) {
    console.error(`no browser: ${error.message}`);
    process.exit(NO_BROWSER);
  }
}

/** Return where the package has put its Chromium, with the libraries that it needs where the machine has none. */
async function packaged() {
  if (!execFileSync("/sbin/ldconfig", ["-p"], { encoding: "utf8" }).includes("libnss3.so"))
    process.env.AWS_EXECUTION_ENV ??= "AWS_Lambda_nodejs20.x"; // it carries them for this
  const { default: carried } = await import("@sparticuz/chromium");
  return carried.executablePath();
}

/** Open a page that notes every error and every violation of the page's policy. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  const faults = [];
  await page.addInitScript(() =>
    document.addEventListener("securitypolicyviolation", (event) =>
      console.error(`policy: ${event.violatedDirective} forbids ${event.blockedURI}`),
    ),
  );
  page.on("pageerror", (error) => faults.push(error.stack ?? error.message));
  page.on("console", (message) => {
    if (message.type() !== "error" && message.type() !== "warning") return;
    // The browser says so of every answer that is not 200. Which are expected, the page shows.
    if (message.text().startsWith("Failed to load resource: the server responded with a status of 4")) return;
    // A page that is left while it connects.
    if (message.text().endsWith("WebSocket is closed before the connection is established.")) return;
    faults.push(`${message.text()} (${message.location().url})`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !/^(data|blob):/.test(request.url())) faults.push(`leaves: ${request.url()}`);
  });
  return { context, page, faults };
}
