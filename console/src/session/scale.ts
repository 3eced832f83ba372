/** From times to places on the screen: the part of the session that is seen, and what is done to it. */

/** What is seen, in units of the axis: milliseconds, or positions of events. */
export interface Range {
  from: number;
  to: number;
}

/** Show a range around a place that stays where it is; `factor` below 1 shows less, and that larger. */
export function zoomed(range: Range, around: number, factor: number, least: number, most: Range): Range {
  const width = clamp((range.to - range.from) * factor, least, Math.max(least, most.to - most.from));
  const share = (around - range.from) / (range.to - range.from || 1);
  return within({ from: around - share * width, to: around + (1 - share) * width }, most);
}

export function moved(range: Range, by: number, most: Range): Range {
  return within({ from: range.from + by, to: range.to + by }, most);
}

/** Move a range so that it lies within another one, as far as it is not wider. */
export function within(range: Range, most: Range): Range {
  const width = range.to - range.from;
  if (width >= most.to - most.from) return { ...most };
  const from = clamp(range.from, most.from, most.to - width);
  return { from, to: from + width };
}

export function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}

const STEPS_MS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
  900_000, 1_800_000, 3_600_000, 7_200_000, 21_600_000, 43_200_000, 86_400_000,
];

/** Return the places of at most `most` marks on an axis of times, counted from `originMs`, and what they say. */
export function timeTicks(range: Range, originMs: number, most: number): { at: number; label: string }[] {
  const width = range.to - range.from;
  const step = STEPS_MS.find((each) => width / each <= most) ?? Math.ceil(width / most / 86_400_000) * 86_400_000;
  const ticks = [];
  for (let at = originMs + Math.ceil((range.from - originMs) / step) * step; at <= range.to; at += step) {
    ticks.push({ at, label: sinceStart(at - originMs, step) });
  }
  return ticks;
}

/** Return the places of at most `most` marks on an axis of positions. */
export function orderTicks(range: Range, most: number): { at: number; label: string }[] {
  const width = Math.max(1, range.to - range.from);
  const power = 10 ** Math.floor(Math.log10(width / most) + 1);
  const step = Math.max(1, [power / 10, power / 5, power / 2, power].find((each) => width / each <= most) ?? power);
  const ticks = [];
  for (let at = Math.max(0, Math.ceil(range.from / step) * step); at <= range.to; at += step) {
    ticks.push({ at, label: `#${Math.round(at) + 1}` });
  }
  return ticks;
}

function sinceStart(ms: number, stepMs: number): string {
  if (stepMs < 1_000) return `${(ms / 1_000).toFixed(stepMs < 10 ? 3 : stepMs < 100 ? 2 : 1)} s`;
  const seconds = Math.round(ms / 1_000);
  const [hours, minutes, rest] = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
  const two = (value: number) => String(value).padStart(2, "0");
  if (hours) return `${hours}:${two(minutes)}${rest ? `:${two(rest)}` : ""} h`;
  return minutes || seconds >= 60 ? `${minutes}:${two(rest)} min` : `${seconds} s`;
}
