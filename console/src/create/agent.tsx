/** One agent of a new session. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { messageOf } from "../api.ts";
import type { AgentOption, AgentRequest, OptionValue, RuntimeId } from "../types.ts";
import { Avatar, Button, Fold } from "../ui.tsx";
import { usdFault } from "../money.ts";
import { BudgetFields } from "./budget.tsx";
import { faultOf, proxyFault, runtimesOf, withField } from "./draft.ts";
import { OptionField } from "./option.tsx";
import { ProxyFields } from "./proxies.tsx";
import { keyOf, known, listed, readAgent } from "./registry.ts";

interface Props {
  index: number;
  agent: AgentRequest;
  others: string[];
  onChange: (agent: AgentRequest) => void;
  onRemove: () => void;
}

export function AgentForm({ index, agent, others, onChange, onRemove }: Props) {
  const fault = useSignal("");
  const { name, version } = agent.id;
  const definition = known.value.get(keyOf(name, version));
  useEffect(() => {
    fault.value = "";
    if (!definition) readAgent(name, version).catch((error: unknown) => (fault.value = messageOf(error)));
  }, [name, version]);
  const options = Object.entries(definition?.options ?? {});
  const faults = options.filter(([key, option]) => faultOf(option, agent.options?.[key]));
  const versions = listed.value?.find((each) => each.name === name)?.versions ?? [version];
  const id = `agent-${index}`;
  const proxies = definition?.llm?.proxies ?? [];
  const chosen = agent.proxies ?? {};
  const setOption = (key: string, value: OptionValue | undefined) => {
    const rest = Object.fromEntries(Object.entries(agent.options ?? {}).filter(([each]) => each !== key));
    onChange({ ...agent, options: value === undefined ? rest : { ...rest, [key]: value } });
  };
  return (
    <article class="agent-form">
      <header>
        <Avatar name={agent.name || "?"} />
        <h3>
          {name} <small>{version}</small>
        </h3>
        <span class="spring" />
        <Button kind="quiet" icon="trash" aria-label={`Remove ${agent.name}`} onClick={onRemove} />
      </header>
      {fault.value && <p class="bad">{fault.value}</p>}
      {definition?.info.summary && <p class="hint">{definition.info.summary}</p>}
      <div class="field-row">
        <div class="field">
          <label for={`${id}-name`}>Name in the session</label>
          <input
            id={`${id}-name`}
            required
            value={agent.name}
            onInput={(event) => onChange({ ...agent, name: event.currentTarget.value })}
          />
          {others.includes(agent.name) && <p class="bad">Another agent has this name.</p>}
        </div>
        {versions.length > 1 && (
          <div class="field">
            <label for={`${id}-version`}>Version</label>
            <select
              id={`${id}-version`}
              value={version}
              onChange={(event) => onChange({ ...agent, id: { ...agent.id, version: event.currentTarget.value } })}
            >
              {versions.map((each) => (
                <option key={each}>{each}</option>
              ))}
            </select>
          </div>
        )}
        <div class="field">
          <label for={`${id}-runtime`}>Runtime</label>
          <select
            id={`${id}-runtime`}
            value={agent.provider.runtime}
            onChange={(event) =>
              onChange({ ...agent, provider: { type: "local", runtime: event.currentTarget.value as RuntimeId } })
            }
          >
            {(definition ? runtimesOf(definition) : [agent.provider.runtime]).map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </div>
      </div>
      {options.length > 0 && (
        <Fold summary={counted("Options", options.length)} faults={faults.length}>
          {grouped(options).map(([group, members]) => (
            <div key={group} class="options">
              {group && <h4>{group}</h4>}
              {members.map(([key, option]) => (
                <OptionField
                  key={key}
                  id={`${id}-${key}`}
                  name={key}
                  option={option}
                  value={agent.options?.[key]}
                  onChange={(value) => setOption(key, value)}
                />
              ))}
            </div>
          ))}
        </Fold>
      )}
      {proxies.length > 0 && (
        <Fold
          summary={counted("Models", proxies.length)}
          faults={proxies.filter((proxy) => proxyFault(chosen[proxy.name])).length}
        >
          <ProxyFields
            id={`${id}-proxy`}
            proxies={proxies}
            chosen={chosen}
            onChange={(next) => onChange(withField(agent, "proxies", Object.keys(next).length ? next : undefined))}
          />
        </Fold>
      )}
      <Fold
        summary={<>Budget{agent.budget && <b> ${String(agent.budget.usd)}</b>}</>}
        faults={agent.budget && usdFault(String(agent.budget.usd)) ? 1 : 0}
      >
        <BudgetFields
          id={`${id}-budget`}
          label="Limit of this agent"
          placeholder="none of its own"
          budget={agent.budget}
          onChange={(budget) => onChange(withField(agent, "budget", budget))}
        />
      </Fold>
      <Fold summary="Description and prompt">
        <div class="field">
          <label for={`${id}-description`}>What others are told of it</label>
          <input
            id={`${id}-description`}
            value={agent.description ?? ""}
            onInput={(event) => onChange(withText(agent, "description", event.currentTarget.value))}
          />
        </div>
        <div class="field">
          <label for={`${id}-prompt`}>System prompt</label>
          <textarea
            id={`${id}-prompt`}
            rows={3}
            value={agent.systemPrompt ?? ""}
            onInput={(event) => onChange(withText(agent, "systemPrompt", event.currentTarget.value))}
          />
        </div>
        <label class="toggle">
          <input
            type="checkbox"
            checked={(agent.plugins ?? []).length > 0}
            onChange={(event) =>
              onChange({ ...agent, plugins: event.currentTarget.checked ? [{ type: "close_session_tool" }] : [] })
            }
          />
          may close the session
        </label>
      </Fold>
    </article>
  );
}

function counted(what: string, count: number) {
  return (
    <>
      {what} <b>{count}</b>
    </>
  );
}

function withText(agent: AgentRequest, key: "description" | "systemPrompt", text: string): AgentRequest {
  const { [key]: _, ...rest } = agent;
  return (text ? { ...rest, [key]: text } : rest) as AgentRequest;
}

function grouped(options: [string, AgentOption][]): [string, [string, AgentOption][]][] {
  const groups = new Map<string, [string, AgentOption][]>();
  for (const each of options) {
    const group = each[1].display?.group ?? "";
    groups.set(group, [...(groups.get(group) ?? []), each]);
  }
  return [...groups];
}
