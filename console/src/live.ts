/** A socket that comes back, and asking where no socket can be had. */
import { urlOf } from "./api.ts";

export type Liveness = "connecting" | "live" | "asking" | "over";

interface Follower {
  /** The address, with the cursor to come back with. */
  path: () => string;
  query?: () => Record<string, string | undefined>;
  onFrame: (frame: Record<string, unknown>) => void;
  onLiveness: (liveness: Liveness) => void;
  /** Asks for what a socket would have told; called every few seconds while there is none. */
  ask: () => Promise<void>;
  /** The server says that nothing more will come. */
  onEnd?: () => void;
}

const ASK_EVERY_MS = 4_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** Follow something until the returned function is called. */
export function follow(follower: Follower): () => void {
  let stopped = false;
  let socket: WebSocket | undefined;
  let pauseMs = FIRST_PAUSE_MS;
  let retry: ReturnType<typeof setTimeout> | undefined;
  let asking: ReturnType<typeof setInterval> | undefined;

  const askNow = () => void follower.ask().catch(() => undefined);

  function connect(): void {
    if (stopped) return;
    const url = urlOf(follower.path(), follower.query?.());
    url.protocol = url.protocol.replace("http", "ws");
    socket = new WebSocket(url);
    let wasOpen = false;
    socket.onopen = () => {
      wasOpen = true;
      pauseMs = FIRST_PAUSE_MS;
      clearInterval(asking);
      asking = undefined;
      follower.onLiveness("live");
    };
    socket.onmessage = (message) => follower.onFrame(JSON.parse(String(message.data)) as Record<string, unknown>);
    socket.onclose = (close) => {
      if (stopped) return;
      if (wasOpen && close.code === 1000 && follower.onEnd) {
        stop();
        follower.onEnd();
        return;
      }
      follower.onLiveness("asking");
      asking ??= setInterval(askNow, ASK_EVERY_MS);
      if (wasOpen) askNow();
      retry = setTimeout(connect, pauseMs);
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    };
  }

  function stop(): void {
    stopped = true;
    clearTimeout(retry);
    clearInterval(asking);
    // A browser notes an error for each socket that is closed before it is open.
    if (socket?.readyState === WebSocket.CONNECTING) socket.onopen = () => socket?.close();
    else socket?.close();
  }

  follower.onLiveness("connecting");
  connect();
  return stop;
}
