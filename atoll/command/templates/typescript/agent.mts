/** Answers messages that mention it, in their threads. */
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const WAIT_MS = 58_000;

interface Message {
  threadId: string;
  senderName: string;
  text: string;
  timestamp: string;
}

const coral = new Client({ name: "new-agent", version: "0.1.0" });
await coral.connect(new StreamableHTTPClientTransport(new URL(process.env.CORAL_CONNECTION_URL!)));

async function call(name: string, args: Record<string, unknown>): Promise<{ message?: Message }> {
  const result = await coral.callTool({ name, arguments: args });
  if (result.isError) throw new Error((result.structuredContent as { error: string }).error);
  return result.structuredContent as { message?: Message };
}

/** Return what is answered: here is the place for your own. */
function answer(sender: string, text: string): string {
  return `You said '${text}', ${sender}.`;
}

let answersLeft = Number(process.env.ANSWERS ?? 0) || Infinity;
let sinceMs = 0;
while (answersLeft > 0) {
  const { message } = await call("coral_wait_for_mention", { currentUnixTime: sinceMs, maxWaitMs: WAIT_MS });
  if (!message) continue; // nothing came within this wait
  sinceMs = Date.parse(message.timestamp) + 1;
  console.log(`${message.senderName} asks: ${message.text}`);
  await call("coral_send_message", {
    threadId: message.threadId,
    content: answer(message.senderName, message.text),
    mentions: [message.senderName],
  });
  answersLeft -= 1;
}
await coral.close();
