// Two agents talk through one Atoll: each on the client that the command line names for it.
//   node talk.mjs <asking client> <URL of ann> <answering client> <URL of bob>
// Prints what each received, as JSON.
import { createMCPClient } from "@ai-sdk/mcp";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const WAIT_MS = 5000;

// The official TypeScript SDK.
async function sdk(url) {
  const client = new Client({ name: "talk", version: "1.0.0" });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  await client.ping();
  return {
    tools: (await client.listTools()).tools.map((tool) => tool.name),
    call: async (name, args) => {
      const result = await client.callTool({ name, arguments: args });
      if (result.isError) throw new Error(result.content[0].text);
      return result.structuredContent;
    },
    read: async (uri) => (await client.readResource({ uri })).contents[0].text,
    close: () => client.close(),
  };
}

// The MCP client that the Vercel AI SDK brings itself: its tools are what a model gets.
async function ai(url) {
  const client = await createMCPClient({ transport: { type: "http", url } });
  const tools = await client.tools();
  return {
    tools: Object.keys(tools),
    call: async (name, args) => {
      const result = await tools[name].execute(args, { toolCallId: name, messages: [] });
      if (result.isError) throw new Error(result.content[0].text);
      return JSON.parse(result.content[0].text);
    },
    read: async (uri) => (await client.readResource({ uri })).contents[0].text,
    close: () => client.close(),
  };
}

async function ask(agent) {
  const { thread } = await agent.call("coral_create_thread", { threadName: "sums", participantNames: ["bob"] });
  await agent.call("coral_send_message", { threadId: thread.id, content: "2 + 2?", mentions: ["bob"] });
  const { message } = await agent.call("coral_wait_for_mention", { currentUnixTime: 0, maxWaitMs: WAIT_MS });
  const state = await agent.read("coral://state");
  await agent.call("coral_close_thread", { threadId: thread.id, summary: "it is 4" });
  return { received: message.text, sawItsQuestion: state.includes("2 + 2?") };
}

async function answer(agent) {
  const wanted = { agentName: "ann", currentUnixTime: 0, maxWaitMs: WAIT_MS };
  const { message } = await agent.call("coral_wait_for_agent", wanted);
  await agent.call("coral_send_message", { threadId: message.threadId, content: "4", mentions: ["ann"] });
  const refused = await agent
    .call("coral_send_message", { threadId: "nope", content: "x", mentions: [] })
    .catch((error) => error.message);
  return { received: message.text, refused };
}

const clients = { sdk, ai };
const [asking, annsDoor, answering, bobsDoor] = process.argv.slice(2);
const ann = await clients[asking](annsDoor);
const bob = await clients[answering](bobsDoor);
const [asked, answered] = await Promise.all([ask(ann), answer(bob)]);
await Promise.all([ann.close(), bob.close()]);
console.log(JSON.stringify({ ann: { ...asked, tools: ann.tools }, bob: { ...answered, tools: bob.tools } }));
