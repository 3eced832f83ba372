/** The namespaces that the key reaches. */
import { useEffect, useState } from "preact/hooks";

import { messageOf } from "./api.ts";
import { follow } from "./live.ts";
import { namespaces, readNamespaces, visited } from "./namespaces.ts";
import { go, link, namespaceLink } from "./route.ts";
import { Annotations, Button, Empty, Fault, Icon } from "./ui.tsx";

export function Home() {
  const [fault, setFault] = useState("");
  const [name, setName] = useState("");
  const read = () => readNamespaces().then(() => setFault(""), (error: unknown) => setFault(messageOf(error)));
  useEffect(() => {
    void read();
    return follow({
      path: () => "ws/v1/events/lsm",
      onFrame: ({ type }) => String(type).startsWith("namespace_") && void read(),
      onLiveness: () => undefined,
      ask: read,
    });
  }, []);
  const found = namespaces.value;
  const gone = found ? visited().filter((each) => !found.some((other) => other.name === each)) : [];
  return (
    <section class="page narrow">
      <div class="title">
        <h1>Namespaces</h1>
      </div>
      {fault && <Fault text={fault} onRetry={() => void read()} />}
      {found?.length === 0 && (
        <Empty title="No namespace yet">
          <p>A session makes its namespace. Start the first one: it takes a minute.</p>
          <a class="button primary" href={link(["new"])}>
            <Icon name="plus" /> New session
          </a>
        </Empty>
      )}
      {!!found?.length && (
        <ul class="cards">
          {found.map((each) => (
            <li key={each.name}>
              <a class="card" href={namespaceLink(each.name)}>
                <strong>{each.name}</strong>
                <Annotations of={each.annotations} />
                <small>
                  {each.deleteOnLastSessionExit ? "goes with its last session" : "stays without sessions"}
                </small>
              </a>
            </li>
          ))}
        </ul>
      )}
      <form
        class="inline"
        onSubmit={(event) => {
          event.preventDefault();
          if (name) go(namespaceLink(name, { tab: "history" }));
        }}
      >
        <label for="other">A namespace that is gone has its history still</label>
        {gone.map((each) => (
          <a key={each} class="button" href={namespaceLink(each, { tab: "history" })}>
            {each}
          </a>
        ))}
        <input id="other" value={name} placeholder="its name" onInput={(event) => setName(event.currentTarget.value)} />
        <Button type="submit" disabled={!name}>
          Open
        </Button>
      </form>
    </section>
  );
}
