// Receives webhooks: checks each, keeps it once, answers at once, and works on it afterwards.
//
// ATOLL_WEBHOOK_SECRET=… node receiver.mjs [PORT]; it needs nothing but Node.

import crypto from "node:crypto";
import fs from "node:fs";
import http from "node:http";
import path from "node:path";

const INBOX = process.env.INBOX ?? "inbox";
const MOST_BYTES = 60_000_000;
const SECRET = process.env.ATOLL_WEBHOOK_SECRET;
if (!SECRET) throw new Error("ATOLL_WEBHOOK_SECRET is not set: anybody could sign");

/** Return whether a request is Atoll's, and no older than 5 minutes; `body` has the bytes as they came. */
function isAtolls(headers, body) {
  const { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signatures } = headers;
  if (!id || !timestamp || !signatures) return false;
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) < 300)) return false;
  const expected = crypto.createHmac("sha256", SECRET).update(`${id}.${timestamp}.`).update(body).digest();
  return signatures.split(" ").some((signature) => {
    const [version, value] = signature.split(",");
    const sent = Buffer.from(value ?? "", "base64");
    return version === "v1" && sent.length === expected.length && crypto.timingSafeEqual(sent, expected);
  });
}

/** Keep a delivery in the inbox, and return whether it is new: it may come twice. */
function keep(delivery, body) {
  const file = path.join(INBOX, `${delivery}.json`);
  if (fs.existsSync(file) || fs.existsSync(done(file))) return false;
  fs.writeFileSync(`${file}.part`, body);
  fs.renameSync(`${file}.part`, file); // whole, or not at all
  return true;
}

const done = (file) => file.replace(/\.json$/, ".done");

/** Work on a delivery; what fails here is left for the next start. */
function work(file) {
  try {
    const report = JSON.parse(fs.readFileSync(file));
    // News of a budget has a `type` instead. Here is the place for your own.
    if (report.sessionState) console.log(`session ${report.sessionState.state.id} has ended`);
    fs.renameSync(file, done(file));
  } catch (error) {
    console.error(error);
  }
}

/** Answer 204 to what is Atoll's, known or new, and 400 to anything else. */
async function receive(request, response) {
  const parts = [];
  let size = 0;
  for await (const part of request) {
    size += part.length;
    if (size > MOST_BYTES) return response.writeHead(413, { Connection: "close" }).end();
    parts.push(part);
  }
  const body = Buffer.concat(parts);
  if (request.method !== "POST" || !isAtolls(request.headers, body)) {
    return response.writeHead(400).end();
  }
  const delivery = request.headers["webhook-id"];
  const isNew = keep(delivery, body);
  response.writeHead(204).end(() => isNew && setImmediate(work, path.join(INBOX, `${delivery}.json`)));
}

const server = http.createServer((request, response) => {
  receive(request, response).catch(() => response.destroy()); // it broke off, or cannot be kept: it comes again
});
server.requestTimeout = 10_000;

fs.mkdirSync(INBOX, { recursive: true });
for (const name of fs.readdirSync(INBOX).sort()) if (name.endsWith(".json")) work(path.join(INBOX, name));
server.listen(Number(process.argv[2] ?? 8080), () => console.log(`listening on ${server.address().port}`));
