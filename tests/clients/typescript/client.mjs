// The TypeScript clients, driven like the Python ones (../driver.py says how).
//   node client.mjs <connection URL> <sdk-1 | sdk-1-first | sdk-2 | sdk-2-first | sdk-2-auto | sdk-2-pinned | ai-sdk>
import { createInterface } from "node:readline";

const [url, name] = process.argv.slice(2);
const who = { name: "driven", version: "1.0.0" };
// A wait of Coral's may last a minute, which is all that the SDK gives a request by itself.
const options = { timeout: 90_000 };

// The official SDK, of either major version, made and connected.
function official(client, protocol) {
  return {
    protocol,
    tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    resources: async () => (await client.listResources()).resources.map((resource) => resource.uri),
    read: async (uri) => (await client.readResource({ uri })).contents[0].text,
    call: (tool, args, send) => send({ name: tool, arguments: args }).then((result) => checked(result).structuredContent),
    close: () => client.close(),
  };
}

async function sdk1(from) {
  const { Client } = await import(`${from}/client/index.js`);
  const { StreamableHTTPClientTransport } = await import(`${from}/client/streamableHttp.js`);
  const client = new Client(who);
  const transport = new StreamableHTTPClientTransport(new URL(url));
  await client.connect(transport);
  const opened = official(client, transport.protocolVersion);
  return { ...opened, call: (tool, args) => opened.call(tool, args, (wanted) => client.callTool(wanted, undefined, options)) };
}

async function sdk2(mode, from = "@modelcontextprotocol/client") {
  const { Client, StreamableHTTPClientTransport } = await import(from);
  const client = new Client(who, { versionNegotiation: { mode } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  const opened = official(client, client.getNegotiatedProtocolVersion());
  return { ...opened, call: (tool, args) => opened.call(tool, args, (wanted) => client.callTool(wanted, options)) };
}

// The MCP client that the Vercel AI SDK brings itself: its tools are what a model gets.
async function aiSdk() {
  const { createMCPClient } = await import("@ai-sdk/mcp");
  const client = await createMCPClient({ transport: { type: "http", url } });
  const tools = await client.tools();
  return {
    protocol: null,
    tools: async () => (await client.listTools()).tools.map((tool) => tool.name),
    resources: async () => (await client.listResources()).resources.map((resource) => resource.uri),
    read: async (uri) => (await client.readResource({ uri })).contents[0].text,
    call: async (tool, args) => {
      const result = await tools[tool].execute(args, { toolCallId: tool, messages: [] });
      return JSON.parse(checked(result).content[0].text);
    },
    close: () => client.close(),
  };
}

function checked(result) {
  if (result.isError) throw Object.assign(new Error(result.content[0].text), { name: "Refused" });
  return result;
}

// Prints the outcome of something, and returns its value.
async function told(doing, of = (value) => value) {
  const began = performance.now();
  let value, outcome;
  try {
    value = await doing();
    outcome = { ok: true, value: of(value) ?? null };
  } catch (error) {
    outcome = { ok: false, error: `${error.name}: ${error.message}` };
  }
  console.log(JSON.stringify({ ...outcome, seconds: Math.round(performance.now() - began) / 1000 }));
  return value;
}

const clients = {
  "sdk-1": () => sdk1("@modelcontextprotocol/sdk"),
  "sdk-1-first": () => sdk1("sdk-first"),
  "sdk-2": () => sdk2("legacy"),
  "sdk-2-first": () => sdk2("legacy", "client-first"),
  "sdk-2-auto": () => sdk2("auto"),
  "sdk-2-pinned": () => sdk2({ pin: "2026-07-28" }),
  "ai-sdk": aiSdk,
};
const client = await told(clients[name], (opened) => opened.protocol);
if (client) {
  const operations = {
    tools: () => client.tools(),
    resources: () => client.resources(),
    read: ({ uri }) => client.read(uri),
    call: ({ tool, arguments: args }) => client.call(tool, args),
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const wanted = JSON.parse(line);
    await told(() => operations[wanted.do](wanted));
  }
  await told(client.close);
}
