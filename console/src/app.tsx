/** The frame around every page: where one is, where one can go, and what the keyboard does. */
import { useEffect } from "preact/hooks";

import { messageOf, signOut, signedIn } from "./api.ts";
import { NewSession } from "./create/page.tsx";
import { Home } from "./home.tsx";
import { readNamespaces } from "./namespaces.ts";
import { Palette, openPalette, paletteIsOpen } from "./palette.tsx";
import { RegistryPage } from "./registry.tsx";
import { go, link, place } from "./route.ts";
import { SessionPage } from "./session/page.tsx";
import { Sessions } from "./sessions.tsx";
import { SignIn } from "./signin.tsx";
import { isDark, toggleTheme } from "./theme.ts";
import { Button, Empty, Icon, Toasts, attempt, tell } from "./ui.tsx";

export function App() {
  useEffect(() => {
    void readNamespaces().catch((error: unknown) => {
      if (signedIn.value !== false) tell(messageOf(error), true);
    });
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        openPalette();
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
  if (signedIn.value === undefined) return <Toasts />;
  if (!signedIn.value)
    return (
      <>
        <SignIn />
        <Toasts />
      </>
    );
  return (
    <>
      <a class="skip" href="#main" onClick={(event) => (event.preventDefault(), document.getElementById("main")?.focus())}>
        To the content
      </a>
      <Header />
      <main id="main" tabIndex={-1}>
        <Place />
      </main>
      {paletteIsOpen.value && <Palette />}
      <Toasts />
    </>
  );
}

function Place() {
  const { parts } = place.value;
  const [first, second, third, fourth] = parts;
  if (first === undefined) return <Home />;
  if (first === "ns" && second !== undefined && third === "session" && fourth !== undefined)
    return <SessionPage key={`${second}/${fourth}`} namespace={second} id={fourth} />;
  if (first === "ns" && second !== undefined && third === undefined) return <Sessions key={second} namespace={second} />;
  if (first === "new") return <NewSession key={place.value.query.get("again") ?? ""} />;
  if (first === "registry") return <RegistryPage name={second} version={third} />;
  return (
    <Empty title="There is nothing here">
      <p>
        <a href={link([])}>To the namespaces</a>
      </p>
    </Empty>
  );
}

function Header() {
  const { parts } = place.value;
  const current = (name: string) => (parts[0] === name ? ("page" as const) : undefined);
  const namespace = parts[0] === "ns" ? parts[1] : undefined;
  const leave = async () => {
    if (await attempt(signOut)) go(link([]));
  };
  return (
    <header class="top">
      <a class="brand" href={link([])}>
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <path d="M16 5a11 11 0 1 0 10 6.4" />
          <circle cx="21.4" cy="6.6" r="2.6" />
        </svg>
        Atoll
      </a>
      <nav aria-label="Main">
        <a href={link([])} aria-current={parts.length === 0 || namespace !== undefined ? "page" : undefined}>
          Sessions
        </a>
        <a href={link(["registry"])} aria-current={current("registry")}>
          Agents
        </a>
      </nav>
      <span class="spring" />
      <button type="button" class="find" onClick={openPalette} aria-keyshortcuts="Control+K">
        <Icon name="search" />
        <span>Go to…</span>
        <kbd>Ctrl K</kbd>
      </button>
      <a class="button primary" href={link(["new"], { ns: namespace })} aria-current={current("new")}>
        <Icon name="plus" />
        <span>New session</span>
      </a>
      <Button
        kind="quiet"
        icon={isDark.value ? "sun" : "moon"}
        aria-label={isDark.value ? "Light colours" : "Dark colours"}
        onClick={toggleTheme}
      />
      <Button kind="quiet" icon="out" aria-label="Sign out" title="Sign out" onClick={() => void leave()} />
    </header>
  );
}
