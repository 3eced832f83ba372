/** Amounts of US dollars, which the API counts in millionths, and what is written into forms. */

/** Return an amount of millionths of a dollar in words; small ones keep their first figures. */
export function dollars(microUsd: number): string {
  const amount = microUsd / 1_000_000;
  return `$${amount === 0 || amount >= 1 ? amount.toFixed(2) : amount.toPrecision(2)}`;
}

/** Return an amount with as many places as it has, at least two: amounts that are added up are seen to add up. */
export function exactDollars(microUsd: number): string {
  const places = String(Math.abs(microUsd) % 1_000_000).padStart(6, "0");
  const whole = Math.floor(Math.abs(microUsd) / 1_000_000).toLocaleString("en");
  return `${microUsd < 0 ? "−" : ""}$${whole}.${places.slice(0, 2)}${places.slice(2).replace(/0+$/, "")}`;
}

/** The most that a budget may be. */
const MOST_USD = 1_000_000;

/** Say what is wrong with a budget as it is written, by the rules of the API; nothing when it is right. */
export function usdFault(text: string): string {
  const isRight = /^\d{1,7}(\.\d{1,6})?$/.test(text) && Number(text) <= MOST_USD;
  return isRight ? "" : "It is 0 to 1000000 US dollars, with at most 6 decimal places, such as 0.50.";
}

/** What may follow from a call beyond a limit, in words. */
export const WHEN_REACHED = {
  refuse: "the call is refused, nothing more",
  stop_agent: "the agent is stopped",
  close_session: "the session is closed",
} as const;
