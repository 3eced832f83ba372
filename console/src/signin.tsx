/** The page before all others: the API key, once. */
import { useState } from "preact/hooks";

import { messageOf, signIn } from "./api.ts";
import { readNamespaces } from "./namespaces.ts";
import { Button } from "./ui.tsx";

export function SignIn() {
  const [key, setKey] = useState("");
  const [fault, setFault] = useState("");
  const [busy, setBusy] = useState(false);
  const isHere = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  const enter = async () => {
    setBusy(true);
    setFault("");
    try {
      await signIn(key.trim());
      await readNamespaces();
    } catch (error) {
      setFault(messageOf(error));
    }
    setBusy(false);
  };
  return (
    <main class="signin">
      <form
        onSubmit={(event) => {
          event.preventDefault();
          void enter();
        }}
      >
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <path d="M16 5a11 11 0 1 0 10 6.4" />
          <circle cx="21.4" cy="6.6" r="2.6" />
        </svg>
        <h1>Atoll</h1>
        <label for="key">API key</label>
        <input
          id="key"
          type="password"
          autocomplete="current-password"
          autofocus
          required
          value={key}
          aria-invalid={fault !== ""}
          aria-describedby="key-help"
          onInput={(event) => setKey(event.currentTarget.value)}
        />
        {fault && (
          <p class="bad" role="alert">
            {fault}
          </p>
        )}
        <Button kind="primary" type="submit" disabled={busy || !key.trim()}>
          {busy ? "Signing in…" : "Sign in"}
        </Button>
        <p id="key-help" class="hint">
          {isHere ? (
            <>
              <code>make run</code> prints the key: <code>dev</code>, unless <code>ATOLL_API_KEY</code> says otherwise.
            </>
          ) : (
            <>
              Whoever runs this stage makes keys: <code>atoll keys make NAME --stage STAGE</code>
            </>
          )}
        </p>
      </form>
    </main>
  );
}
