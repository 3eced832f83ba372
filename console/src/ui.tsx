/** The pieces that pages are made of. */
import { signal } from "@preact/signals";
import type { ButtonHTMLAttributes, ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { messageOf } from "./api.ts";
import { ago, dateTime, now } from "./time.ts";

const PATHS = {
  search: "M7 12A5 5 0 1 0 7 2a5 5 0 0 0 0 10Zm3.6-1.4L14 14",
  plus: "M8 3v10M3 8h10",
  sun: "M8 11a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM8 1v1.5M8 13.5V15M1 8h1.5M13.5 8H15M3 3l1 1M12 12l1 1M13 3l-1 1M4 12l-1 1",
  moon: "M13.5 9.5A6 6 0 0 1 6.5 2.5a6 6 0 1 0 7 7Z",
  out: "M6 2.5H3v11h3M7 8h7M11 5l3 3-3 3",
  close: "M4 4l8 8M12 4l-8 8",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  down: "M4 6l4 4 4-4",
  right: "M6 4l4 4-4 4",
  play: "M5 3l8 5-8 5Z",
  pause: "M5 3v10M11 3v10",
  fit: "M2 6V2h4M10 2h4v4M14 10v4h-4M6 14H2v-4",
  minus: "M3 8h10",
  again: "M13 8a5 5 0 1 1-1.5-3.6M13 2v3h-3",
  trash: "M3 4.5h10M6.5 4.5v-2h3v2M4.5 4.5l.5 9h6l.5-9",
  book: "M3 2.5h7a3 3 0 0 1 3 3v8H6a3 3 0 0 1-3-3Z",
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}

type ButtonProps = ButtonHTMLAttributes & {
  kind?: "primary" | "quiet" | "danger" | undefined;
  icon?: keyof typeof PATHS | undefined;
  children?: ComponentChildren;
};

export function Button({ kind, icon, children, class: extra, ...rest }: ButtonProps) {
  return (
    <button type="button" {...rest} class={`button ${kind ?? ""} ${(extra as string | undefined) ?? ""}`}>
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

/** A button that asks once more in its own place before it does what cannot be undone. */
export function SureButton({ sure, onSure, children, ...rest }: ButtonProps & { sure: string; onSure: () => void }) {
  const [asked, ask] = useState(false);
  useEffect(() => {
    if (!asked) return;
    const timer = setTimeout(() => ask(false), 4_000);
    return () => clearTimeout(timer);
  }, [asked]);
  return (
    <Button {...rest} kind={asked ? "danger" : rest.kind} onClick={() => (asked ? (ask(false), onSure()) : ask(true))}>
      {asked ? sure : children}
    </Button>
  );
}

const STATES: Record<string, string> = {
  pending_execution: "pending",
  executed: "running",
  closing: "closing",
  ended: "ended",
};

/** A state as a word with a mark: the mark has a shape of its own, so that no colour need be told from another. */
export function State({ of, title }: { of: string; title?: string | undefined }) {
  return (
    <span class={`state state-${of}`} title={title}>
      <i aria-hidden="true" />
      {STATES[of] ?? of.replaceAll("_", " ")}
    </span>
  );
}

export function Ago({ at }: { at: string }) {
  return (
    <time dateTime={at} title={dateTime(at)}>
      {ago(at, now.value)}
    </time>
  );
}

/** The colour of a name, always the same one. */
export function toneOf(name: string): number {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)!) >>> 0;
  return sum % 8;
}

export function Avatar({ name }: { name: string }) {
  return (
    <span class={`avatar tone-${toneOf(name)}`} aria-hidden="true">
      {[...name][0]?.toUpperCase()}
    </span>
  );
}

export function Agent({ name }: { name: string }) {
  return (
    <span class="agent-name">
      <Avatar name={name} />
      <span>{name}</span>
    </span>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return (
    <div class="empty">
      <svg viewBox="0 0 64 64" aria-hidden="true">
        <path d="M32 12a20 20 0 1 0 18 11" />
        <circle cx="42" cy="15" r="4" />
      </svg>
      <h2>{title}</h2>
      {children}
    </div>
  );
}

export function Fault({ text, onRetry }: { text: string; onRetry?: (() => void) | undefined }) {
  return (
    <div class="fault" role="alert">
      <p>{text}</p>
      {onRetry && (
        <Button icon="again" onClick={onRetry}>
          Try again
        </Button>
      )}
    </div>
  );
}

export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
    setTimeout(() => setDone(false), 1_500);
  };
  return (
    <Button kind="quiet" icon="copy" onClick={() => void attempt(copy)}>
      {done ? "Copied" : label}
    </Button>
  );
}

interface Toast {
  id: number;
  text: string;
  isFault: boolean;
}

const toasts = signal<Toast[]>([]);
let lastToast = 0;

export function tell(text: string, isFault = false): void {
  const toast = { id: ++lastToast, text, isFault };
  toasts.value = [...toasts.value, toast].slice(-4);
  setTimeout(() => (toasts.value = toasts.value.filter((each) => each !== toast)), isFault ? 10_000 : 4_000);
}

/** Do something and tell what went wrong, or that it went well. */
export async function attempt(act: () => Promise<unknown>, done?: string): Promise<boolean> {
  try {
    await act();
    if (done) tell(done);
    return true;
  } catch (error) {
    tell(messageOf(error), true);
    return false;
  }
}

export function Toasts() {
  return (
    <div class="toasts" role="status" aria-live="polite">
      {toasts.value.map((toast) => (
        <p key={toast.id} class={toast.isFault ? "bad" : ""}>
          {toast.text}
        </p>
      ))}
    </div>
  );
}

/** A dialog that is open as long as it is there. */
export function Dialog(props: {
  title: string;
  side?: boolean;
  onClose: () => void;
  children: ComponentChildren;
  actions?: ComponentChildren;
}) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    element.current?.showModal();
  }, []);
  return (
    <dialog
      ref={element}
      class={props.side ? "side" : ""}
      aria-label={props.title}
      onClose={props.onClose}
      onClick={(event) => event.target === element.current && element.current?.close()}
    >
      <div class="dialog">
        <header>
          <h2>{props.title}</h2>
          {props.actions}
          <Button kind="quiet" icon="close" aria-label="Close" onClick={() => element.current?.close()} />
        </header>
        <div class="dialog-body">{props.children}</div>
      </div>
    </dialog>
  );
}

/** A part of a form that is folded away. It unfolds when there is something to look at in it, and folds by hand alone. */
export function Fold(props: { summary: ComponentChildren; faults?: number; children: ComponentChildren }) {
  const element = useRef<HTMLDetailsElement>(null);
  const { faults = 0 } = props;
  useEffect(() => {
    if (faults > 0) element.current!.open = true;
  }, [faults > 0]);
  return (
    <details ref={element}>
      <summary>
        {props.summary}
        {faults > 0 && <span class="bad"> {faults} to look at</span>}
      </summary>
      {props.children}
    </details>
  );
}

export interface Tab {
  id: string;
  label: string;
  count?: number | undefined;
}

export function Tabs(props: { label: string; tabs: Tab[]; chosen: string; onChoose: (id: string) => void }) {
  const { tabs, chosen, onChoose } = props;
  const onKeyDown = (event: KeyboardEvent) => {
    const step = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
    if (!step) return;
    const next = tabs[(tabs.findIndex((tab) => tab.id === chosen) + step + tabs.length) % tabs.length]!;
    onChoose(next.id);
    ((event.currentTarget as HTMLElement).querySelector(`[data-tab="${next.id}"]`) as HTMLElement | null)?.focus();
  };
  return (
    <div class="tabs" role="tablist" aria-label={props.label} onKeyDown={onKeyDown}>
      {tabs.map((tab) => (
        <button
          key={tab.id}
          type="button"
          role="tab"
          data-tab={tab.id}
          aria-selected={tab.id === chosen}
          tabIndex={tab.id === chosen ? 0 : -1}
          onClick={() => onChoose(tab.id)}
        >
          {tab.label}
          {tab.count ? <b>{tab.count.toLocaleString("en")}</b> : null}
        </button>
      ))}
    </div>
  );
}

/**
 * A list of which only the rows in sight are there, whatever its length. Rows have the height `rowPx`. With `stick` it
 * stays at its end, until someone scrolls away from it.
 */
export function VirtualList<Item>(props: {
  items: readonly Item[];
  rowPx: number;
  label: string;
  render: (item: Item, index: number) => ComponentChildren;
  stick?: boolean;
  /** Which row is to be seen, when that changes. */
  show?: number | undefined;
  class?: string;
  /** The most that it takes of the window's height; without it, it is as tall as its place. */
  most?: string;
}) {
  const { items, rowPx, render } = props;
  const box = useRef<HTMLDivElement>(null);
  const [seen, setSeen] = useState({ top: 0, height: 600 });
  const atEnd = useRef(true);

  useLayoutEffect(() => {
    const element = box.current!;
    const measure = () => setSeen({ top: element.scrollTop, height: element.clientHeight });
    const observer = new ResizeObserver(measure);
    observer.observe(element);
    measure();
    return () => observer.disconnect();
  }, []);
  useLayoutEffect(() => {
    if (props.stick && atEnd.current && box.current) box.current.scrollTop = items.length * rowPx;
  }, [items.length]);
  useLayoutEffect(() => {
    if (props.show !== undefined && props.show >= 0 && box.current)
      box.current.scrollTop = Math.max(0, props.show * rowPx - box.current.clientHeight / 2);
  }, [props.show]);

  const first = Math.max(0, Math.floor(seen.top / rowPx) - 6);
  const last = Math.min(items.length, Math.ceil((seen.top + seen.height) / rowPx) + 6);
  const onScroll = () => {
    const { scrollTop, clientHeight } = box.current!;
    atEnd.current = scrollTop + clientHeight >= items.length * rowPx - rowPx;
    setSeen({ top: scrollTop, height: clientHeight });
  };
  return (
    <div
      ref={box}
      class={`virtual ${props.class ?? ""}`}
      role="list"
      aria-label={props.label}
      tabIndex={0}
      {...(props.most ? { style: { height: `min(${items.length * rowPx + 2}px, ${props.most})` } } : {})}
      onScroll={onScroll}
    >
      <div class="virtual-all" style={{ height: `${items.length * rowPx}px` }}>
        {items.slice(first, last).map((item, offset) => (
          <div
            key={first + offset}
            role="listitem"
            class="virtual-row"
            style={{ height: `${rowPx}px`, transform: `translateY(${(first + offset) * rowPx}px)` }}
          >
            {render(item, first + offset)}
          </div>
        ))}
      </div>
    </div>
  );
}

/** JSON in colours: what is a name, a text, a number. */
export function Json({ value }: { value: unknown }) {
  const text = JSON.stringify(value, null, 2) ?? "";
  const parts = text.split(/("(?:[^"\\]|\\.)*"(?:\s*:)?|\b(?:true|false|null)\b|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/g);
  return (
    <pre class="json" tabIndex={0}>
      {parts.map((part, index) => {
        if (index % 2 === 0) return part;
        const kind = part.endsWith(":") ? "key" : part.startsWith('"') ? "text" : "number";
        return <span class={kind}>{part}</span>;
      })}
    </pre>
  );
}

export function Annotations({ of }: { of: Record<string, string> | undefined }) {
  const pairs = Object.entries(of ?? {});
  if (!pairs.length) return null;
  return (
    <span class="annotations">
      {pairs.map(([key, value]) => (
        <span class="chip" title={`${key}: ${value}`}>
          <em>{key}</em> {value}
        </span>
      ))}
    </span>
  );
}
