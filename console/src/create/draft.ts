/** A session that is to be made: the request, in the form that the API takes, and what is checked of it before. */
import type {
  AgentOption,
  AgentRequest,
  AgentState,
  Balance,
  Budgets,
  OptionValue,
  ProxyRequest,
  RegistryAgent,
  RuntimeId,
  SessionRequest,
} from "../types.ts";

const DEFAULT_TTL_MS = 600_000;
const DEFAULT_HOLD_MS = 60_000;

export function emptyDraft(namespace: string): SessionRequest {
  return {
    agentGraphRequest: { agents: [], groups: [], customTools: {} },
    namespaceProvider: {
      type: "create_if_not_exists",
      namespaceRequest: { name: namespace, deleteOnLastSessionExit: true, annotations: {} },
    },
    execution: {
      mode: "immediate",
      runtimeSettings: {
        ttl: DEFAULT_TTL_MS,
        extendedEndReport: false,
        persistenceMode: { mode: "hold_after_exit", duration: DEFAULT_HOLD_MS },
        webhooks: {},
      },
    },
    annotations: {},
  } as SessionRequest;
}

export function namespaceOf(draft: SessionRequest): string {
  const provider = draft.namespaceProvider;
  return provider.type === "use_existing" ? provider.name : provider.namespaceRequest.name;
}

export function runtimesOf(agent: RegistryAgent): RuntimeId[] {
  return Object.entries(agent.runtimes)
    .filter(([, runtime]) => runtime != null)
    .map(([name]) => name as RuntimeId);
}

/** Return a name that none of `taken` is. */
export function freeName(wanted: string, taken: string[]): string {
  for (let number = 1; ; number++) {
    const name = number === 1 ? wanted : `${wanted}-${number}`;
    if (!taken.includes(name)) return name;
  }
}

export function agentRequest(agent: RegistryAgent, name: string): AgentRequest {
  const { identifier } = agent.info;
  return {
    id: { name: identifier.name, version: identifier.version, registrySourceId: { type: "local" } },
    name,
    provider: { type: "local", runtime: runtimesOf(agent)[0] ?? "executable" },
    options: {},
  } as unknown as AgentRequest;
}

/** Return groups in which everyone knows everyone. */
export function everyone(agents: AgentRequest[]): string[][] {
  return agents.length > 1 ? [agents.map((agent) => agent.name)] : [];
}

/** Return an object with a field, or without it. */
export function withField<Whole extends object>(whole: Whole, name: keyof Whole, value: unknown): Whole {
  const rest = Object.fromEntries(Object.entries(whole).filter(([each]) => each !== name));
  return (value === undefined ? rest : { ...rest, [name]: value }) as Whole;
}

/** Return which models are chosen after a change of one; one of which nothing is said is left to the server. */
export function withProxy(
  chosen: Record<string, ProxyRequest>,
  name: string,
  changes: Partial<ProxyRequest>,
): Record<string, ProxyRequest> {
  const next = { configurationName: "", modelName: "", ...chosen[name], ...changes };
  return withField(chosen, name, next.configurationName || next.modelName ? next : undefined);
}

export function proxyFault(chosen: ProxyRequest | undefined): string {
  if (!chosen || (chosen.configurationName && chosen.modelName)) return "";
  return "Name both, the provider and the model, or neither.";
}

/** Return whether a session, or one of its agents, has a budget. */
export function hasBudget({ agentGraphRequest: { agents, budget } }: SessionRequest): boolean {
  return budget != null || agents.some((agent) => agent.budget != null);
}

/** Make a request of an earlier budget. What followed at the limit is not known any more. */
function limitAgain(balance: Balance | null | undefined): object {
  if (!balance) return {};
  return { budget: { usd: (balance.limit / 1_000_000).toString(), onReached: "refuse" } };
}

/**
 * Make a request of a session's agents, with their limits. What they were given as options is not known any more.
 */
export function again(
  agents: AgentState[],
  namespace: string,
  annotations: Record<string, string>,
  budgets?: Budgets | null,
): SessionRequest {
  const draft = emptyDraft(namespace);
  const names = agents.map((agent) => agent.name);
  const pairs = agents.flatMap((agent) => agent.links.map((other) => [agent.name, other].sort()));
  const isWhole = pairs.length === names.length * (names.length - 1);
  const single = [...new Map(pairs.map((pair) => [pair.join("\n"), pair])).values()];
  return {
    ...draft,
    annotations: { ...annotations },
    agentGraphRequest: {
      ...draft.agentGraphRequest,
      agents: agents.map((agent) => ({
        id: agent.registryAgentIdentifier,
        name: agent.name,
        ...(agent.description ? { description: agent.description } : {}),
        provider: { type: "local", runtime: "executable" },
        options: {},
        annotations: agent.annotations,
        ...limitAgain(budgets?.agents[agent.name]),
      })),
      ...limitAgain(budgets?.session),
      groups: names.length < 2 ? [] : isWhole ? [names] : single,
    },
  } as SessionRequest;
}

/** Return the value that an option has as text in a form: a list has an entry a line. */
export function textOf(value: OptionValue | undefined): string {
  if (value === undefined) return "";
  return Array.isArray(value.value) ? value.value.join("\n") : String(value.value);
}

/** Read what was written into an option's field; nothing written is no value. */
export function valueOf(option: AgentOption, text: string): OptionValue | undefined {
  if (text === "") return undefined;
  const element = /^list\[(.*)\]$/.exec(option.type)?.[1];
  const value =
    element === undefined ? single(option.type, text) : text.split("\n").filter(Boolean).map((line) => single(element, line));
  return { type: option.type, value } as OptionValue;
}

function single(type: string, text: string): string | number | boolean {
  if (type === "bool") return text === "true";
  if (type === "string" || type === "blob" || type === "u64") return text;
  const number = Number(text);
  // What is no number, or too large for one, goes as it is: the server reads numbers as text, and says what is wrong.
  return text.trim() === "" || Number.isNaN(number) || (!type.startsWith("f") && !Number.isSafeInteger(number)) ? text : number;
}

const RANGES: Record<string, [bigint, bigint]> = Object.fromEntries(
  [8n, 16n, 32n, 64n].flatMap((bits) => [
    [`i${bits}`, [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n]],
    [`u${bits}`, [0n, 2n ** bits - 1n]],
  ]),
);

/** Say what is wrong with an option's value; nothing when it is right. */
export function faultOf(option: AgentOption, value: OptionValue | undefined): string {
  if (value === undefined) return option.required && option.default == null ? "It is required." : "";
  const element = option.type.replace(/^list\[|\]$/g, "");
  for (const each of Array.isArray(value.value) ? value.value : [value.value]) {
    const fault = element === "string" ? textFault(option, String(each)) : numberFault(option, element, String(each));
    if (fault) return fault;
  }
  return "";
}

function textFault(option: AgentOption, text: string): string {
  const rules = ("validation" in option ? option.validation : undefined) as
    | { min_length?: number | null; max_length?: number | null; regex?: string | null; variants?: string[] | null }
    | undefined;
  if (!rules) return "";
  const bytes = new TextEncoder().encode(text).length;
  if (rules.min_length != null && bytes < rules.min_length) return `It has at least ${rules.min_length} bytes.`;
  if (rules.max_length != null && bytes > rules.max_length) return `It has at most ${rules.max_length} bytes.`;
  if (rules.variants?.length && !rules.variants.includes(text)) return `It is one of ${rules.variants.join(", ")}.`;
  return rules.regex != null && isNoMatch(rules.regex, text) ? `It has the form ${rules.regex}` : "";
}

function isNoMatch(regex: string, text: string): boolean {
  try {
    return !new RegExp(`^(?:${regex})$`, "u").test(text);
  } catch {
    return false; // written for another engine: the server judges
  }
}

function numberFault(option: AgentOption, type: string, text: string): string {
  if (type === "bool" || type === "blob") return "";
  const range = RANGES[type];
  if (range && !/^-?\d+$/.test(text)) return "It is a whole number.";
  if (range && (BigInt(text) < range[0] || BigInt(text) > range[1])) return `It is from ${range[0]} to ${range[1]}.`;
  if (!Number.isFinite(Number(text)) || text.trim() === "") return "It is a number.";
  const rules = ("validation" in option ? option.validation : undefined) as
    | { min?: number | null; max?: number | null; variants?: (number | string)[] | null }
    | undefined;
  if (rules?.min != null && Number(text) < Number(rules.min)) return `It is at least ${rules.min}.`;
  if (rules?.max != null && Number(text) > Number(rules.max)) return `It is at most ${rules.max}.`;
  if (rules?.variants?.length && !rules.variants.some((each) => String(each) === text))
    return `It is one of ${rules.variants.join(", ")}.`;
  return "";
}

/** The request as a command of the shell. */
export function curl(draft: SessionRequest, root: string): string {
  const body = JSON.stringify(draft, null, 2).replaceAll("'", "'\\''");
  return [
    `curl -s ${root}api/v1/local/session \\`,
    `  -H "Authorization: Bearer $ATOLL_API_KEY" -H 'Content-Type: application/json' \\`,
    `  -d '${body}'`,
  ].join("\n");
}

/** The request as a program in Python, which needs nothing installed. */
export function python(draft: SessionRequest, root: string): string {
  return `import json
import os
import urllib.request

session = ${pythonOf(draft)}

request = urllib.request.Request(
    "${root}api/v1/local/session",
    data=json.dumps(session).encode(),
    headers={
        "Authorization": f"Bearer {os.environ['ATOLL_API_KEY']}",
        "Content-Type": "application/json",
    },
)
print(json.load(urllib.request.urlopen(request)))
`;
}

/** Write JSON as Python does: the two differ in three words. */
function pythonOf(value: unknown, indent = ""): string {
  const inner = `${indent}    `;
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) {
    if (!value.length) return "[]";
    return `[\n${value.map((each) => `${inner}${pythonOf(each, inner)},\n`).join("")}${indent}]`;
  }
  if (typeof value !== "object") return JSON.stringify(value);
  const pairs = Object.entries(value);
  if (!pairs.length) return "{}";
  return `{\n${pairs.map(([key, each]) => `${inner}${JSON.stringify(key)}: ${pythonOf(each, inner)},\n`).join("")}${indent}}`;
}
