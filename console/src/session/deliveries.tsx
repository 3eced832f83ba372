/** End reports, and what is told of budgets, on their way to webhooks: what was tried, what was answered, and once more. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { at, messageOf, page, send } from "../api.ts";
import { dateTime, duration } from "../time.ts";
import type { Delivery } from "../types.ts";
import { Button, Empty, Fault, State, attempt } from "../ui.tsx";

/** Pages of a namespace's deliveries that are looked through for those of one session. */
const MOST_PAGES = 5;

export function Deliveries(props: { namespace: string; session: string; onInspect: (value: unknown) => void }) {
  const found = useSignal<Delivery[] | undefined>(undefined);
  const fault = useSignal("");
  const path = `api/v1/local/namespace/${at(props.namespace)}/deliveries`;
  const read = async () => {
    try {
      const ours: Delivery[] = [];
      let cursor: string | undefined;
      for (let count = 0; count < MOST_PAGES; count++) {
        const part: { items: Delivery[]; next?: string } = await page<Delivery>(path, { limit: "200", cursor });
        ours.push(...part.items.filter((each) => each.sessionId === props.session));
        cursor = part.next;
        if (cursor === undefined) break;
      }
      found.value = ours;
      fault.value = "";
    } catch (error) {
      fault.value = messageOf(error);
    }
  };
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout>;
    let stopped = false;
    const readOn = async () => {
      await read();
      const isPending = found.value?.some((each) => each.state === "pending");
      if (!stopped) timer = setTimeout(() => void readOn(), isPending ? 1_000 : 5_000);
    };
    void readOn();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [props.namespace, props.session]);
  if (fault.value) return <Fault text={fault.value} onRetry={() => void read()} />;
  return (
    <div class="deliveries" role="tabpanel" aria-label="Deliveries">
      {found.value?.length === 0 && (
        <Empty title="Nothing to deliver">
          <p>A session that names a webhook has its end report sent there when it ends; another one is told of its budgets.</p>
        </Empty>
      )}
      {found.value?.map((delivery) => (
        <article key={delivery.deliveryId} class="delivery">
          <header>
            <State of={delivery.state} />
            <code>{delivery.url}</code>
            <span class="spring" />
            <Button kind="quiet" onClick={() => props.onInspect(delivery)}>
              JSON
            </Button>
            <Button
              icon="again"
              disabled={delivery.state === "pending"}
              title={delivery.state === "pending" ? "It is still being tried." : undefined}
              onClick={() => void attempt(() => send("POST", `${path}/${at(delivery.deliveryId)}/resend`).then(read), "It is sent again.")}
            >
              Send again
            </Button>
          </header>
          <p class="hint">
            {delivery.bodyBytes.toLocaleString("en")} bytes, created {dateTime(delivery.createdAt)}
            {delivery.nextAttemptAt && `, tried next ${dateTime(delivery.nextAttemptAt)}`}
          </p>
          {delivery.attempts.length > 0 && (
            <table>
              <thead>
                <tr>
                  <th>Attempt</th>
                  <th>Round</th>
                  <th>Took</th>
                  <th>Answer</th>
                </tr>
              </thead>
              <tbody>
                {delivery.attempts.map((each) => (
                  <tr key={each.timestamp}>
                    <td>{dateTime(each.timestamp)}</td>
                    <td>{each.round}</td>
                    <td>{duration(each.durationMs)}</td>
                    <td>{each.error ?? `${each.status}${each.answer ? `: ${each.answer}` : ""}`}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          )}
        </article>
      ))}
    </div>
  );
}
