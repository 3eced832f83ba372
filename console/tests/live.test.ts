import assert from "node:assert/strict";
import { mock, test } from "node:test";

/** What a page has that Node has not: an address, and sockets that do as they are told. */
Object.assign(globalThis, { document: { baseURI: "http://atoll.test/ui/console/" } });

class FakeSocket {
  static readonly CONNECTING = 0;
  static readonly all: FakeSocket[] = [];
  readyState = 1;
  onopen?: () => void;
  onmessage?: (message: { data: string }) => void;
  onclose?: (close: { code: number }) => void;
  isClosed = false;
  constructor(readonly url: URL) {
    FakeSocket.all.push(this);
  }
  close() {
    this.isClosed = true;
  }
}
Object.assign(globalThis, { WebSocket: FakeSocket });

const { follow } = await import("../src/live.ts");

function followed(t: { mock: typeof mock; after: (act: () => void) => void }) {
  t.mock.timers.enable({ apis: ["setTimeout", "setInterval"] });
  const seen = { cursor: "0", frames: [] as unknown[], liveness: [] as string[], asked: 0, ended: 0 };
  FakeSocket.all.length = 0;
  const stop = follow({
    path: () => "ws/v1/events/session/a/b",
    query: () => ({ after: seen.cursor }),
    onFrame: (frame) => {
      seen.frames.push(frame);
      seen.cursor = String(frame["cursor"]);
    },
    onLiveness: (liveness) => seen.liveness.push(liveness),
    ask: async () => void seen.asked++,
    onEnd: () => void seen.ended++,
  });
  t.after(stop);
  return { seen, stop, latest: () => FakeSocket.all.at(-1)! };
}

test("a connection that breaks comes back from its cursor", (t) => {
  const { seen, latest } = followed(t as never);
  const first = latest();
  assert.equal(String(first.url), "ws://atoll.test/ws/v1/events/session/a/b?after=0");
  first.onopen!();
  first.onmessage!({ data: '{"type":"x","cursor":7}' });
  first.onclose!({ code: 1006 });
  t.mock.timers.tick(500);
  assert.notEqual(latest(), first);
  assert.equal(latest().url.searchParams.get("after"), "7");
  assert.deepEqual(seen.liveness, ["connecting", "live", "asking"]);
  assert.equal(seen.asked, 1);
});

test("without sockets it asks, says so, and tries less and less often", (t) => {
  const { seen, latest } = followed(t as never);
  for (let tries = 0; tries < 5; tries++) {
    latest().onclose!({ code: 1006 });
    t.mock.timers.tick(500 * 2 ** tries);
  }
  assert.equal(FakeSocket.all.length, 6);
  assert.equal(seen.asked, Math.floor((500 * 31) / 4_000));
  assert.equal(seen.liveness.at(-1), "asking");
  latest().onopen!();
  const asked = seen.asked;
  t.mock.timers.tick(60_000);
  assert.equal(seen.asked, asked);
});

test("a server that is done ends it", (t) => {
  const { seen, latest } = followed(t as never);
  latest().onopen!();
  latest().onclose!({ code: 1000 });
  t.mock.timers.tick(60_000);
  assert.deepEqual([seen.ended, seen.asked, FakeSocket.all.length], [1, 0, 1]);
});

test("a connection that is being made is closed once it is there", (t) => {
  const { seen, stop, latest } = followed(t as never);
  latest().readyState = FakeSocket.CONNECTING;
  stop();
  assert.ok(!latest().isClosed);
  latest().onopen!();
  assert.ok(latest().isClosed);
  assert.deepEqual(seen.liveness, ["connecting"]);
});

test("who stops hears nothing more", (t) => {
  const { seen, stop, latest } = followed(t as never);
  stop();
  assert.ok(latest().isClosed);
  latest().onclose!({ code: 1006 });
  t.mock.timers.tick(60_000);
  assert.deepEqual([seen.liveness, FakeSocket.all.length], [["connecting"], 1]);
});
