/** Return an amount of millionths of a dollar in words; small ones keep their first figures. */
export function dollars(microUsd: number): string {
  const amount = microUsd / 1_000_000;
  return `$${amount === 0 || amount >= 1 ? amount.toFixed(2) : amount.toPrecision(2)}`;
}
