/** Requests to the API that the page came from. The browser adds the cookie of the sign-in. */
import { signal } from "@preact/signals";

/** The API's own root: the page is at `ui/console/` below it, behind the name of a stage or not. */
const ROOT = new URL("../../", document.baseURI);

/** Whether requests are answered; `undefined` until the first one was. */
export const signedIn = signal<boolean | undefined>(undefined);

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export interface Page<Item> {
  items: Item[];
  /** Where the next page begins. */
  next?: string;
}

/** Return an address below the API's root; the parts are names as they are, and are encoded here. */
export function at(...parts: string[]): string {
  return parts.map(encodeURIComponent).join("/");
}

export function urlOf(path: string, query: Record<string, string | undefined> = {}): URL {
  const url = new URL(path, ROOT);
  for (const [name, value] of Object.entries(query)) if (value !== undefined && value !== "") url.searchParams.set(name, value);
  return url;
}

export async function get<Answer>(path: string, query?: Record<string, string | undefined>): Promise<Answer> {
  return (await asked("GET", urlOf(path, query))).json() as Promise<Answer>;
}

export async function page<Item>(path: string, query?: Record<string, string | undefined>): Promise<Page<Item>> {
  const response = await asked("GET", urlOf(path, query));
  const next = response.headers.get("Next-Cursor");
  return { items: (await response.json()) as Item[], ...(next === null ? {} : { next }) };
}

/** Read all pages of a listing, at most `most` of them. */
export async function all<Item>(path: string, query: Record<string, string> = {}, most = 20): Promise<Item[]> {
  const found: Item[] = [];
  let cursor: string | undefined;
  for (let count = 0; count < most; count++) {
    const part: Page<Item> = await page<Item>(path, { limit: "1000", ...query, cursor });
    found.push(...part.items);
    cursor = part.next;
    if (cursor === undefined) break;
  }
  return found;
}

export async function send<Answer = void>(
  method: "POST" | "PUT" | "DELETE",
  path: string,
  body?: unknown,
  contentType = "application/json",
): Promise<Answer> {
  const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
  const response = await asked(method, urlOf(path), { "Content-Type": contentType }, text);
  const answer = await response.text();
  return (answer ? JSON.parse(answer) : undefined) as Answer;
}

/** Change the API key into a cookie that no script can read. */
export async function signIn(key: string): Promise<void> {
  const response = await fetch(urlOf("api/v1/auth/token"), {
    method: "POST",
    body: new URLSearchParams({ token: key }),
    redirect: "manual",
  });
  if (response.type !== "opaqueredirect" && !response.ok) throw await errorOf(response);
  signedIn.value = true;
}

export async function signOut(): Promise<void> {
  await send("DELETE", "api/v1/auth/token");
  signedIn.value = false;
}

async function asked(method: string, url: URL, headers: Record<string, string> = {}, body?: string): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { method, headers, ...(body === undefined ? {} : { body }), cache: "no-store" });
  } catch {
    throw new ApiError(0, "Atoll does not answer. Is it running?");
  }
  if (response.status === 401) signedIn.value = false;
  if (!response.ok) throw await errorOf(response);
  signedIn.value = true;
  return response;
}

async function errorOf(response: Response): Promise<ApiError> {
  const text = await response.text();
  try {
    return new ApiError(response.status, String((JSON.parse(text) as { message: unknown }).message));
  } catch {
    return new ApiError(response.status, text || `The answer was ${response.status}.`);
  }
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
