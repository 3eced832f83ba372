/** The timeline: a lane for each agent, what it does when, and the messages from lane to lane. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";

import { clockTime, duration, now } from "../time.ts";
import { Button } from "../ui.tsx";
import { type Call, LONGEST_WAIT_MS, type Sending, type Span, TONES, type Timeline, firstAtLeast, hasFailed, tokensOf } from "./model.ts";
import { type Range, clamp, moved, orderTicks, timeTicks, within, zoomed } from "./scale.ts";
import type { SessionSource } from "./source.ts";

/** How high a lane is: as there is room, within bounds. */
const LANE_PX = { least: 46, most: 92 };
const AXIS_PX = 26;
const PADDING_PX = 14;
/** So many messages are all drawn; of more, some stand for those beside them, until one looks closer. */
const MOST_MESSAGES = 600;
/** So many calls of models are all drawn; of more, one for those beside it. */
const MOST_CALLS = 600;
/** How far above the middle of its lane a call is: above the bar, clear of messages' dots. */
const CALL_ABOVE_PX = 13;
/** The names of agents, beside the lanes. */
const NAMES_PX = { wide: 168, narrow: 92 };

type Axis = "time" | "order";

interface Hover {
  x: number;
  y: number;
  content: ComponentChildren;
}

export function TimelineView({ source, onInspect }: { source: SessionSource; onInspect: (value: unknown) => void }) {
  const { timeline } = source;
  const box = useRef<HTMLDivElement>(null);
  const width = useSignal(900);
  const axis = useSignal<Axis>("time");
  const chosen = useSignal<Range | undefined>(undefined);
  const following = useSignal(true);
  const hover = useSignal<Hover | undefined>(undefined);

  useLayoutEffect(() => {
    const observer = new ResizeObserver(([entry]) => (width.value = Math.max(260, entry!.contentRect.width)));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);

  const isRunning = source.state.value?.status.type === "executed" && !source.past.value;
  const names = [...timeline.lanes.keys()];
  const namesPx = width.value < 640 ? NAMES_PX.narrow : NAMES_PX.wide;
  const plot = { x: namesPx, width: width.value - namesPx - PADDING_PX };
  const roomPx = innerWidth >= 1_500 ? innerHeight - 300 : 0; // beside the details, not above them
  const lanePx = clamp(Math.floor(roomPx / Math.max(1, names.length)), LANE_PX.least, LANE_PX.most);
  const height = AXIS_PX + Math.max(1, names.length) * lanePx + 6;
  const whole = wholeOf(timeline, axis.value, isRunning ? now.value : undefined);
  const range = rangeShown(chosen.value, whole, isRunning && following.value);
  const toX = (value: number) => plot.x + ((value - range.from) / (range.to - range.from)) * plot.width;
  const least = axis.value === "time" ? 5 : 2;
  const drawing = { timeline, axis: axis.value, range, toX, plot, names, lanePx, nowMs: isRunning ? now.value : undefined };

  const show = (next: Range) => {
    chosen.value = next;
    following.value = isRunning && next.to >= whole.to - (whole.to - whole.from) * 0.001;
  };
  const zoom = (factor: number, around = (range.from + range.to) / 2) =>
    show(zoomed(range, around, factor, least, whole));
  const fit = () => {
    chosen.value = undefined;
    following.value = true;
  };

  useWheel(box, (event, x) => {
    if (event.ctrlKey || event.metaKey) {
      zoom(Math.exp(event.deltaY * 0.01), range.from + ((x - plot.x) / plot.width) * (range.to - range.from));
      return true;
    }
    if (Math.abs(event.deltaX) <= Math.abs(event.deltaY) && !event.shiftKey) return false;
    show(moved(range, ((event.deltaX || event.deltaY) / plot.width) * (range.to - range.from), whole));
    return true;
  });
  const drag = useRef<{ x: number; range: Range } | undefined>(undefined);
  const onKeyDown = (event: KeyboardEvent) => {
    const step = (range.to - range.from) / 5;
    const act = {
      "+": () => zoom(0.6),
      "=": () => zoom(0.6),
      "-": () => zoom(1.7),
      "0": fit,
      ArrowLeft: () => show(moved(range, -step, whole)),
      ArrowRight: () => show(moved(range, step, whole)),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  };
  const onMove = (event: PointerEvent) => {
    if (drag.current) {
      const by = ((drag.current.x - event.clientX) / plot.width) * (drag.current.range.to - drag.current.range.from);
      show(moved(drag.current.range, by, whole));
      return;
    }
    hover.value = hoverOf(event, drawing, box.current!);
  };
  const onClick = (event: MouseEvent) => {
    const position = (event.target as Element).closest("[data-position]")?.getAttribute("data-position");
    if (position != null) onInspect(timeline.entries[Number(position)]?.event);
  };
  const count = timeline.sendings.length;
  return (
    <figure class="timeline" aria-label="Timeline">
      <div class="timeline-bar">
        <div class="segments" role="group" aria-label="Axis">
          {(["time", "order"] as const).map((each) => (
            <button
              key={each}
              type="button"
              aria-pressed={axis.value === each}
              title={each === "time" ? "Distances are times" : "Each event is as wide as any other"}
              onClick={() => {
                axis.value = each;
                fit();
              }}
            >
              {each === "time" ? "Time" : "Order"}
            </button>
          ))}
        </div>
        <Button kind="quiet" icon="minus" aria-label="Show more" title="Show more (−)" onClick={() => zoom(1.7)} />
        <Button kind="quiet" icon="plus" aria-label="Show less" title="Show less (+)" onClick={() => zoom(0.6)} />
        <Button kind="quiet" icon="fit" aria-label="Show all" title="Show all (0)" onClick={fit} />
        {isRunning && (
          <Button
            kind="quiet"
            icon={following.value ? "pause" : "play"}
            aria-pressed={following.value}
            onClick={() => (following.value ? (show({ ...range }), (following.value = false)) : (following.value = true))}
          >
            {following.value ? "Pause" : "Follow"}
          </Button>
        )}
        <span class="spring" />
        <Legend hasCalls={timeline.calls.length > 0} />
      </div>
      <div
        ref={box}
        class="timeline-box"
        tabIndex={0}
        role="group"
        aria-label="Lanes of the agents. Plus and minus zoom, arrows move, 0 shows all."
        onKeyDown={onKeyDown}
        onPointerDown={(event) => {
          if (event.button === 0) drag.current = { x: event.clientX, range };
        }}
        onPointerUp={() => (drag.current = undefined)}
        onPointerLeave={() => {
          drag.current = undefined;
          hover.value = undefined;
        }}
        onPointerMove={onMove}
        onClick={onClick}
      >
        <svg
          width={width.value}
          height={height}
          role="img"
          aria-label={`${names.length} agents, ${count} messages, ${timeline.calls.length} calls of models, ${duration(timeline.endMs - timeline.startMs)}`}
        >
          <defs>
            <pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
              <rect class="hatch-ground" width="6" height="6" />
              <rect class="hatch-line" width="2.4" height="6" />
            </pattern>
            <clipPath id="plot">
              <rect x={plot.x} y="0" width={plot.width + PADDING_PX} height={height} />
            </clipPath>
          </defs>
          <Ticks drawing={drawing} height={height} />
          <g clip-path="url(#plot)">
            {names.map((name, row) => (
              <Lane key={name} drawing={drawing} name={name} row={row} />
            ))}
            <Calls drawing={drawing} />
            <Arrows drawing={drawing} />
            {drawing.nowMs !== undefined && axis.value === "time" && (
              <line class="now" x1={toX(drawing.nowMs)} x2={toX(drawing.nowMs)} y1={AXIS_PX - 4} y2={height} />
            )}
          </g>
          {names.map((name, row) => (
            <LaneName key={name} drawing={drawing} name={name} row={row} width={namesPx} />
          ))}
        </svg>
        {timeline.entries.length === 0 && source.loaded.value && (
          <p class="timeline-empty">
            {source.state.value?.status.type === "pending_execution"
              ? "Its agents start when it is executed."
              : "Nothing has happened yet. What happens appears here by itself."}
          </p>
        )}
        {hover.value && <Tip {...hover.value} width={width.value} />}
      </div>
    </figure>
  );
}

/** A wheel listener that may keep the page from scrolling. */
function useWheel(box: { current: HTMLDivElement | null }, act: (event: WheelEvent, x: number) => boolean): void {
  const latest = useRef(act);
  latest.current = act;
  useEffect(() => {
    const element = box.current!;
    const onWheel = (event: WheelEvent) => {
      if (latest.current(event, event.clientX - element.getBoundingClientRect().left)) event.preventDefault();
    };
    element.addEventListener("wheel", onWheel, { passive: false });
    return () => element.removeEventListener("wheel", onWheel);
  }, []);
}

interface Drawing {
  timeline: Timeline;
  axis: Axis;
  range: Range;
  toX: (value: number) => number;
  plot: { x: number; width: number };
  names: string[];
  lanePx: number;
  nowMs: number | undefined;
}

function wholeOf(timeline: Timeline, axis: Axis, nowMs: number | undefined): Range {
  if (axis === "order") return { from: -0.5, to: Math.max(8, timeline.entries.length) - 0.5 };
  const { startMs, endMs } = timeline;
  const to = Math.max(endMs, nowMs ?? 0, startMs + 1_000);
  const margin = (to - startMs) * 0.01;
  return { from: startMs - margin, to: to + margin };
}

function rangeShown(chosen: Range | undefined, whole: Range, follows: boolean): Range {
  if (!chosen) return whole;
  if (!follows) return within(chosen, { from: Math.min(whole.from, chosen.from), to: Math.max(whole.to, chosen.to) });
  const width = Math.min(chosen.to - chosen.from, whole.to - whole.from);
  return { from: whole.to - width, to: whole.to };
}

const yOf = (row: number, lanePx: number) => AXIS_PX + row * lanePx + lanePx / 2;

function Ticks({ drawing, height }: { drawing: Drawing; height: number }) {
  const most = Math.max(2, Math.floor(drawing.plot.width / 110));
  const ticks =
    drawing.axis === "time"
      ? timeTicks(drawing.range, drawing.timeline.startMs, most)
      : orderTicks(drawing.range, most);
  return (
    <g class="ticks">
      {ticks.map(({ at, label }) => (
        <g key={at}>
          <line x1={drawing.toX(at)} x2={drawing.toX(at)} y1={AXIS_PX - 6} y2={height} />
          <text x={drawing.toX(at) + 5} y={AXIS_PX - 10}>
            {label}
          </text>
        </g>
      ))}
    </g>
  );
}

function LaneName({ drawing, name, row, width }: { drawing: Drawing; name: string; row: number; width: number }) {
  const y = yOf(row, drawing.lanePx);
  const fits = Math.floor((width - 20) / 7.6);
  return (
    <g class="lane-name">
      <rect class="lane-ground" x="0" y={y - drawing.lanePx / 2} width={width - 2} height={drawing.lanePx} />
      <text x="14" y={y - 1}>
        {name.length > fits ? `${name.slice(0, fits - 1)}…` : name}
        <title>{name}</title>
      </text>
      <text class="lane-activity" x="14" y={y + 14}>
        {drawing.timeline.activityOf(name) ?? "to start"}
      </text>
    </g>
  );
}

function Lane({ drawing, name, row }: { drawing: Drawing; name: string; row: number }) {
  const { axis, range, toX, timeline } = drawing;
  const spans = timeline.lanes.get(name) ?? [];
  const endOf = (span: Span) =>
    axis === "order" ? (span.end ?? timeline.entries.length - 0.5) : (span.endMs ?? drawing.nowMs ?? timeline.endMs);
  const startOf = (span: Span) => (axis === "order" ? span.start : span.startMs);
  const y = yOf(row, drawing.lanePx);
  const bars = [];
  let lastX = -Infinity;
  // The first that may be in sight is the one before the first that begins in it.
  for (let index = Math.max(0, firstAtLeast(spans, startOf, range.from) - 1); index < spans.length; index++) {
    const span = spans[index]!;
    if (startOf(span) > range.to) break;
    const [from, to] = [clamp(startOf(span), range.from, range.to), clamp(endOf(span), range.from, range.to)];
    const [x, right] = [toX(from), toX(to)];
    if (right - lastX < 0.7 && right - x < 0.7) continue;
    lastX = right;
    bars.push(
      <rect
        key={index}
        class={`span span-${span.activity}`}
        data-lane={name}
        data-span={index}
        data-position={span.start}
        x={x}
        y={span.activity === "stopped" ? y - 1 : y - 6}
        width={Math.max(0.8, right - x)}
        height={span.activity === "stopped" ? 2 : 12}
        rx={span.activity === "stopped" ? 0 : Math.min(3, Math.max(0, (right - x) / 2))}
      />,
    );
  }
  return (
    <g>
      <line class="lane-line" x1={drawing.plot.x} x2={drawing.plot.x + drawing.plot.width + PADDING_PX} y1={y} y2={y} />
      {bars}
    </g>
  );
}

/** A diamond above the lane for each call of a model in sight; of those that would lie on one another, one. */
function Calls({ drawing }: { drawing: Drawing }) {
  const { timeline, axis, range, toX, names, lanePx } = drawing;
  const valueOf = (call: Call) => (axis === "time" ? call.atMs : call.position);
  const rows = new Map(names.map((name, row) => [name, row]));
  const [first, end] = [range.from, range.to].map((value) => firstAtLeast(timeline.calls, valueOf, value)) as [number, number];
  const nearPx = end - first > MOST_CALLS ? Math.max(1, (drawing.plot.width * names.length) / MOST_CALLS) : 0;
  const lastX = new Map<string, number>();
  const marks = [];
  for (let index = first; index < end; index++) {
    const call = timeline.calls[index]!;
    const row = rows.get(call.agent);
    const x = round(toX(valueOf(call)));
    if (row === undefined || x < (lastX.get(call.agent) ?? -Infinity) + nearPx) continue;
    lastX.set(call.agent, x);
    marks.push(
      <path
        key={index}
        class={`call ${hasFailed(call) ? "failed" : ""}`}
        d={callPath(x, yOf(row, lanePx) - CALL_ABOVE_PX, hasFailed(call))}
        data-call={index}
        data-position={call.position}
      />,
    );
  }
  return <g class="calls">{marks}</g>;
}

/** A diamond, and with a cross in it when the call has failed. */
function callPath(x: number, y: number, failed: boolean): string {
  return `M${x} ${y - 5}l5 5l-5 5l-5 -5z${failed ? `M${x - 2.5} ${y - 2.5}l5 5m0 -5l-5 5` : ""}`;
}

/** A message in sight, in places of the screen: a dot where it was sent, a line to each lane that it went to. */
interface Mark {
  sending: number;
  position: number;
  tone: number;
  dot?: { x: number; y: number };
  arrows: { path: string; isArrival: boolean }[];
}

function Arrows({ drawing }: { drawing: Drawing }) {
  const { marks, isCrowded } = marksOf(drawing);
  if (isCrowded) return <Crowd marks={marks} drawing={drawing} />;
  return (
    <g class="arrows">
      {marks.map(({ sending, position, tone, dot, arrows }) => {
        const about = { "data-position": position, "data-sending": sending };
        return (
          <g key={sending} class={`tone-${tone}`}>
            {arrows.map(({ path, isArrival }) => (
              <path class={`arrow ${isArrival ? "" : "unread"}`} d={path} {...about} />
            ))}
            {dot && <circle class="dot" cx={dot.x} cy={dot.y} r="4.5" {...about} />}
          </g>
        );
      })}
    </g>
  );
}

/** Messages too many to be told apart: a few shapes for all of them, which move as one. */
function Crowd({ marks, drawing }: { marks: Mark[]; drawing: Drawing }) {
  const tones = Array.from({ length: TONES }, () => ({ dots: "", arrows: "", unread: "" }));
  for (const { tone, dot, arrows } of marks) {
    const shapes = tones[tone]!;
    if (dot) shapes.dots += `M${dot.x} ${dot.y}h0`;
    for (const { path, isArrival } of arrows) shapes[isArrival ? "arrows" : "unread"] += path;
  }
  return (
    <g class="arrows crowd">
      {tones.map(({ dots, arrows, unread }, tone) => (
        <g key={tone} class={`tone-${tone}`}>
          <path class="arrow" d={arrows} />
          <path class="arrow unread" d={unread} />
          <path class="dots" d={dots} />
        </g>
      ))}
      <text class="crowded" x={drawing.plot.x + drawing.plot.width} y={AXIS_PX + 4}>
        not every message is drawn: look closer
      </text>
    </g>
  );
}

function marksOf(drawing: Drawing): { marks: Mark[]; isCrowded: boolean } {
  const { timeline, axis, range, toX, names, lanePx } = drawing;
  const valueOf = (each: { atMs: number; position: number }) => (axis === "time" ? each.atMs : each.position);
  const indexAt = (value: number) => firstAtLeast(timeline.sendings, valueOf, value);
  const rows = new Map(names.map((name, row) => [name, row]));
  const [first, end] = [indexAt(range.from), indexAt(range.to)];
  const isCrowded = end - first > MOST_MESSAGES;
  // How near to each other marks of a crowd may be, and those that are taken.
  const pairs = Math.min(names.length * (names.length - 1), 40);
  const nearPx = (kinds: number) => (drawing.plot.width * kinds) / MOST_MESSAGES;
  const taken = new Set<string>();
  const isNew = (kind: string, x: number, near: number) => {
    const before = taken.size;
    return !isCrowded || taken.add(`${kind}:${Math.round(x / near)}`).size > before;
  };
  const marks: Mark[] = [];
  // One that was sent before may arrive in sight; waits are not longer than this.
  const earliest = isCrowded ? first : indexAt(range.from - (axis === "time" ? LONGEST_WAIT_MS : 50));
  for (let index = Math.max(earliest, first - MOST_MESSAGES); index < end; index++) {
    const sending = timeline.sendings[index]!;
    const row = rows.get(sending.message.senderName);
    if (row === undefined) continue;
    const [x, y] = [round(toX(valueOf(sending))), yOf(row, lanePx)];
    const arrows = targetsOf(sending, valueOf).flatMap(({ agent, to, isArrival }) => {
      const target = rows.get(agent);
      if (target === undefined || target === row || to < range.from) return [];
      if (!isNew(`${row}>${target}`, x, nearPx(pairs))) return [];
      return [{ path: arrowPath(x, y, round(toX(to)), yOf(target, lanePx)), isArrival }];
    });
    const hasDot = index >= first && isNew(`${row}`, x, nearPx(names.length));
    if (!hasDot && !arrows.length) continue;
    const tone = timeline.threads.get(sending.message.threadId)?.tone ?? 0;
    marks.push({ sending: index, position: sending.position, tone, arrows, ...(hasDot ? { dot: { x, y } } : {}) });
  }
  return { marks, isCrowded };
}

const round = (place: number) => Math.round(place * 10) / 10;

function arrowPath(x: number, y: number, toX: number, toY: number): string {
  const down = toY > y ? 1 : -1;
  return `M${x} ${y + 6 * down}L${toX} ${toY - 8 * down}m-3.5 ${-5 * down}l3.5 ${5 * down}l3.5 ${-5 * down}`;
}

/** Who got a message, and when; who was mentioned and has not got it by a wait, from when it was sent. */
function targetsOf(sending: Sending, valueOf: (each: { atMs: number; position: number }) => number) {
  const arrived = sending.arrivals.map((each) => ({ agent: each.agent, to: valueOf(each), isArrival: true }));
  const names = new Set(arrived.map((each) => each.agent));
  const mentioned = sending.message.mentionNames
    .filter((name) => !names.has(name))
    .map((agent) => ({ agent, to: valueOf(sending), isArrival: false }));
  return [...arrived, ...mentioned];
}

function hoverOf(event: PointerEvent, drawing: Drawing, box: HTMLElement): Hover | undefined {
  const target = event.target as Element;
  const place = box.getBoundingClientRect();
  const at = { x: event.clientX - place.left, y: event.clientY - place.top };
  const sending = drawing.timeline.sendings[Number(target.getAttribute("data-sending") ?? NaN)];
  if (sending) return { ...at, content: <AboutMessage sending={sending} timeline={drawing.timeline} /> };
  const call = drawing.timeline.calls[Number(target.getAttribute("data-call") ?? NaN)];
  if (call) return { ...at, content: <AboutCall call={call} /> };
  const lane = target.getAttribute("data-lane");
  const span = lane === null ? undefined : drawing.timeline.lanes.get(lane)?.[Number(target.getAttribute("data-span"))];
  return span && { ...at, content: <AboutSpan span={span} nowMs={drawing.nowMs} /> };
}

function AboutMessage({ sending, timeline }: { sending: Sending; timeline: Timeline }) {
  const { message, arrivals } = sending;
  const got = arrivals.map((each) => `${each.agent} after ${duration(each.atMs - sending.atMs)}`).join(", ");
  return (
    <>
      <strong>
        {message.senderName}
        {message.mentionNames.length > 0 && ` → ${message.mentionNames.join(", ")}`}
      </strong>
      <p>{message.text.length > 240 ? `${message.text.slice(0, 240)}…` : message.text}</p>
      <small>
        {timeline.threads.get(message.threadId)?.name ?? "a thread"} · {clockTime(sending.atMs)}
        {got && ` · read by ${got}`}
      </small>
    </>
  );
}

function AboutCall({ call }: { call: Call }) {
  return (
    <>
      <strong>
        {call.agent} called {call.model}
      </strong>
      <p>{tokensOf(call)}</p>
      <small>
        {hasFailed(call) ? "failed, " : ""}status {call.status} · as {call.proxy} · {clockTime(call.atMs)}
      </small>
    </>
  );
}

function AboutSpan({ span, nowMs }: { span: Span; nowMs: number | undefined }) {
  const endMs = span.endMs ?? nowMs;
  const latestMs = span.startMs + LONGEST_WAIT_MS; // one that lasts longer is a function's, which may have no end
  return (
    <>
      <strong>
        {span.agent} {span.activity === "waiting" ? `waits for ${span.detail}` : WORDS[span.activity]}
      </strong>
      <small>
        {clockTime(span.startMs)}
        {endMs !== undefined && ` · ${duration(endMs - span.startMs)}`}
        {span.activity === "waiting" &&
          span.endMs === undefined &&
          (endMs === undefined || endMs <= latestMs) &&
          ` · until ${clockTime(latestMs)} at most`}
      </small>
    </>
  );
}

const WORDS = { starting: "is being started", thinking: "thinks", waiting: "waits", stopped: "has stopped" };

function Tip({ x, y, content, width }: Hover & { width: number }) {
  const left = clamp(x + 14, 0, Math.max(0, width - 300));
  return (
    <div class="tip" role="tooltip" style={{ left: `${left}px`, top: `${y + 16}px` }}>
      {content}
    </div>
  );
}

function Legend({ hasCalls }: { hasCalls: boolean }) {
  return (
    <ul class="legend" aria-label="Legend">
      {(["starting", "thinking", "waiting", "stopped"] as const).map((activity) => (
        <li key={activity}>
          <svg width="22" height="12" aria-hidden="true">
            <rect
              class={`span span-${activity}`}
              y={activity === "stopped" ? 5 : 1}
              width="22"
              height={activity === "stopped" ? 2 : 10}
              rx="3"
            />
          </svg>
          {activity}
        </li>
      ))}
      {hasCalls && (
        <li>
          <svg width="12" height="12" aria-hidden="true">
            <path class="call" d={callPath(6, 6, false)} />
          </svg>
          call of a model
        </li>
      )}
    </ul>
  );
}
