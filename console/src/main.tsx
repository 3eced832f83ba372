import "./style.css";

import { render } from "preact";

import { App } from "./app.tsx";
import { begin } from "./theme.ts";

begin();
// The page's address without its last slash is as good a link.
if (!location.pathname.endsWith("/")) history.replaceState(null, "", new URL(location.hash, document.baseURI));
render(<App />, document.getElementById("app")!);
