/** The threads of a session as conversations, and a place to speak in an agent's name. */
import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";

import { at, send } from "../api.ts";
import { html } from "../markdown.ts";
import { place, refine } from "../route.ts";
import { clockTime } from "../time.ts";
import { Agent, Avatar, Button, Dialog, Empty, SureButton, attempt } from "../ui.tsx";
import type { Sending, Thread } from "./model.ts";
import type { SessionSource } from "./source.ts";

/** Messages that are shown at once; earlier ones come when they are asked for. */
const PART = 200;

export function Threads({ source, onInspect }: { source: SessionSource; onInspect: (value: unknown) => void }) {
  const threads = [...source.timeline.threads.values()];
  const chosen = place.value.query.get("thread");
  const open = threads.find((thread) => thread.id === chosen) ?? threads[0];
  const read = useMemo(() => new Map<string, number>(), [source]);
  const making = useSignal(false);
  const isOver = source.past.value !== undefined || source.state.value?.status.type !== "executed";
  if (open) read.set(open.id, open.sendings.length);
  return (
    <div class="threads" role="tabpanel" aria-label="Threads">
      <div class="thread-list">
        {threads.map((thread) => {
          const unread = thread.sendings.length - (read.get(thread.id) ?? 0);
          return (
            <button
              key={thread.id}
              type="button"
              class={`thread-name tone-${thread.tone}`}
              aria-current={thread === open}
              onClick={() => refine({ thread: thread.id })}
            >
              <i aria-hidden="true" />
              <span>{thread.name || "unnamed"}</span>
              {thread.closed ? <small>closed</small> : unread > 0 && <b title={`${unread} unread`}>{unread}</b>}
            </button>
          );
        })}
        {!isOver && source.agents.value.length > 0 && (
          <Button kind="quiet" icon="plus" onClick={() => (making.value = true)}>
            New thread
          </Button>
        )}
      </div>
      {open ? (
        <Conversation key={open.id} source={source} thread={open} isOver={isOver} onInspect={onInspect} />
      ) : (
        <Empty title="No thread yet">
          <p>{isOver ? "Nobody spoke in this session." : "Agents open threads; you can open one in an agent's name."}</p>
        </Empty>
      )}
      {making.value && <NewThread source={source} onClose={() => (making.value = false)} />}
    </div>
  );
}

function Conversation(props: {
  source: SessionSource;
  thread: Thread;
  isOver: boolean;
  onInspect: (value: unknown) => void;
}) {
  const { source, thread } = props;
  const shown = useSignal(PART);
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  useEffect(() => {
    if (atEnd.current && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [thread.sendings.length]);
  const hidden = Math.max(0, thread.sendings.length - shown.value);
  return (
    <div class={`conversation tone-${thread.tone}`}>
      <header>
        <h2>{thread.name || "unnamed"}</h2>
        <span class="crew">
          {[...thread.participants].map((name) => (
            <Agent key={name} name={name} />
          ))}
        </span>
      </header>
      <div
        ref={box}
        class="messages"
        role="log"
        aria-label={`Messages of ${thread.name}`}
        tabIndex={0}
        onScroll={() => {
          const { scrollTop, scrollHeight, clientHeight } = box.current!;
          atEnd.current = scrollTop + clientHeight > scrollHeight - 40;
        }}
      >
        {hidden > 0 && (
          <Button kind="quiet" onClick={() => (shown.value += PART)}>
            {hidden.toLocaleString("en")} earlier messages
          </Button>
        )}
        {thread.sendings.slice(hidden).map((sending, index, part) => (
          <MessageView
            key={sending.message.id}
            sending={sending}
            goesOn={part[index - 1]?.message.senderName === sending.message.senderName}
            onInspect={props.onInspect}
          />
        ))}
        {thread.sendings.length === 0 && !thread.closed && <p class="hint">No message yet.</p>}
        {thread.closed && (
          <p class="closing-note">
            Closed at {clockTime(thread.closed.atMs)}: {thread.closed.summary || "without a summary"}
          </p>
        )}
      </div>
      {!props.isOver && !thread.closed && <Speak source={source} thread={thread} />}
    </div>
  );
}

function MessageView(props: { sending: Sending; goesOn: boolean; onInspect: (value: unknown) => void }) {
  const { message, arrivals, atMs } = props.sending;
  const body = useMemo(() => ({ __html: html(message.text) }), [message.text]);
  const readers = arrivals.map((each) => each.agent);
  return (
    <article class={`message ${props.goesOn ? "goes-on" : ""}`}>
      <Avatar name={message.senderName} />
      <div>
        <header>
          <strong>{message.senderName}</strong>
          {message.mentionNames.map((name) => (
            <span key={name} class="mention">
              @{name}
            </span>
          ))}
          <time dateTime={message.timestamp} title={message.timestamp}>
            {clockTime(atMs)}
          </time>
          {readers.length > 0 && <small>read by {readers.join(", ")}</small>}
          <button
            type="button"
            class="raw"
            aria-label={`The message of ${message.senderName} as JSON`}
            onClick={() => props.onInspect(message)}
          >
            {"{ }"}
          </button>
        </header>
        <div class="markdown" dangerouslySetInnerHTML={body} />
      </div>
    </article>
  );
}

/** Speak, in the name of one of the thread's agents. */
function Speak({ source, thread }: { source: SessionSource; thread: Thread }) {
  const present = [...thread.participants];
  const puppets = source.agents.value
    .filter((agent) => agent.registryAgentIdentifier.name === "puppet")
    .map((agent) => agent.name);
  const speaker = useSignal(present.find((name) => puppets.includes(name)) ?? present[0] ?? "");
  const mentions = useSignal<string[]>([]);
  const text = useSignal("");
  const busy = useSignal(false);
  const puppet = `api/v1/puppet/${at(source.namespace, source.id, speaker.value)}/thread`;
  const say = async () => {
    if (!text.value.trim() || busy.value) return;
    busy.value = true;
    const message = { threadId: thread.id, content: text.value, mentions: mentions.value };
    if (await attempt(() => send("POST", `${puppet}/message`, message))) text.value = "";
    busy.value = false;
  };
  const close = () => send("DELETE", puppet, { threadId: thread.id, summary: text.value });
  return (
    <form
      class="speak"
      onSubmit={(event) => {
        event.preventDefault();
        void say();
      }}
    >
      <div class="speak-as">
        <label>
          as
          <select value={speaker.value} onChange={(event) => (speaker.value = event.currentTarget.value)}>
            {present.map((name) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        <fieldset>
          <legend>to</legend>
          {present
            .filter((name) => name !== speaker.value)
            .map((name) => (
              <label key={name} class="toggle">
                <input
                  type="checkbox"
                  checked={mentions.value.includes(name)}
                  onChange={(event) =>
                    (mentions.value = event.currentTarget.checked
                      ? [...mentions.value, name]
                      : mentions.value.filter((each) => each !== name))
                  }
                />
                @{name}
              </label>
            ))}
        </fieldset>
        <span class="spring" />
        <SureButton
          kind="quiet"
          sure={text.value ? "Close, with this as the summary?" : "Close without a summary?"}
          onSure={() => void attempt(close).then((done) => done && (text.value = ""))}
        >
          Close thread
        </SureButton>
      </div>
      <div class="speak-text">
        <textarea
          aria-label={`Message in the name of ${speaker.value}`}
          placeholder={`Say something in the name of ${speaker.value}`}
          rows={2}
          value={text.value}
          onInput={(event) => (text.value = event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey) {
              event.preventDefault();
              void say();
            }
          }}
        />
        <Button kind="primary" type="submit" disabled={!text.value.trim() || busy.value}>
          Send
        </Button>
      </div>
    </form>
  );
}

function NewThread({ source, onClose }: { source: SessionSource; onClose: () => void }) {
  const names = source.agents.value.map((agent) => agent.name);
  const creator = useSignal(names[0] ?? "");
  const name = useSignal("");
  const members = useSignal<string[]>(names);
  const make = async () => {
    const path = `api/v1/puppet/${at(source.namespace, source.id, creator.value)}/thread`;
    const participantNames = members.value.filter((each) => each !== creator.value);
    const made = await attempt(async () => {
      const answer = await send<{ thread: { id: string } }>("POST", path, { threadName: name.value, participantNames });
      refine({ thread: answer.thread.id });
    });
    if (made) onClose();
  };
  return (
    <Dialog title="New thread" onClose={onClose}>
      <form
        class="fields"
        onSubmit={(event) => {
          event.preventDefault();
          void make();
        }}
      >
        <label>
          Name
          <input required value={name.value} onInput={(event) => (name.value = event.currentTarget.value)} />
        </label>
        <label>
          Opened by
          <select value={creator.value} onChange={(event) => (creator.value = event.currentTarget.value)}>
            {names.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </label>
        <fieldset>
          <legend>With</legend>
          {names
            .filter((each) => each !== creator.value)
            .map((each) => (
              <label key={each} class="toggle">
                <input
                  type="checkbox"
                  checked={members.value.includes(each)}
                  onChange={(event) =>
                    (members.value = event.currentTarget.checked
                      ? [...members.value, each]
                      : members.value.filter((other) => other !== each))
                  }
                />
                {each}
              </label>
            ))}
        </fieldset>
        <Button kind="primary" type="submit" disabled={!name.value}>
          Open thread
        </Button>
      </form>
    </Dialog>
  );
}
