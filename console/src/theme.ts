/** Light or dark: as the system has it, until one chooses. */
import { signal } from "@preact/signals";

const KEY = "atoll.theme";

export const isDark = signal(false);

export function begin(): void {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = localStorage.getItem(KEY);
  show(chosen === null ? system.matches : chosen === "dark");
  system.addEventListener("change", () => {
    if (localStorage.getItem(KEY) === null) show(system.matches);
  });
}

export function toggleTheme(): void {
  show(!isDark.value);
  localStorage.setItem(KEY, isDark.value ? "dark" : "light");
}

function show(dark: boolean): void {
  isDark.value = dark;
  document.documentElement.dataset["theme"] = dark ? "dark" : "light";
}
