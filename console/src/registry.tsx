/** The agents that sessions can be made of; added and removed here. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";

import { at, messageOf, send } from "./api.ts";
import { runtimesOf, textOf } from "./create/draft.ts";
import { keyOf, known, listed, readAgent, readRegistry } from "./create/registry.ts";
import { html } from "./markdown.ts";
import { go, link } from "./route.ts";
import type { AgentOption, OptionValue, RegistryAgent } from "./types.ts";
import { Avatar, Button, Dialog, Empty, Fault, Icon, SureButton, attempt } from "./ui.tsx";

export function RegistryPage({ name, version }: { name?: string | undefined; version?: string | undefined }) {
  const fault = useSignal("");
  const adding = useSignal(false);
  const read = () => readRegistry().then(() => (fault.value = ""), (error: unknown) => (fault.value = messageOf(error)));
  useEffect(() => void read(), []);
  const agents = listed.value;
  const shown = agents?.find((each) => each.name === name);
  return (
    <section class="page">
      <div class="title">
        <h1>Agents</h1>
        <Button icon="plus" onClick={() => (adding.value = true)}>
          Add an agent
        </Button>
      </div>
      {fault.value && <Fault text={fault.value} onRetry={() => void read()} />}
      {agents?.length === 0 && (
        <Empty title="The registry is empty">
          <p>
            An agent is a <code>coral-agent.toml</code>. Add one, or name its folder in <code>AGENTS</code> for{" "}
            <code>make run</code>.
          </p>
        </Empty>
      )}
      {!!agents?.length && (
        <div class="registry">
          <nav aria-label="Agents">
            {agents.map((each) => (
              <a
                key={each.name}
                href={link(["registry", each.name, each.versions.at(-1)!])}
                aria-current={each.name === name ? "page" : undefined}
              >
                <Avatar name={each.name} />
                <span>{each.name}</span>
                <small>{each.versions.length > 1 ? `${each.versions.length} versions` : each.versions[0]}</small>
              </a>
            ))}
          </nav>
          {name !== undefined && version !== undefined ? (
            <AgentPage key={keyOf(name, version)} name={name} version={version} versions={shown?.versions ?? [version]} onGone={read} />
          ) : (
            <p class="hint choose">Choose an agent to see what it takes and how it runs.</p>
          )}
        </div>
      )}
      {adding.value && <AddAgent onClose={() => (adding.value = false)} />}
    </section>
  );
}

function AgentPage(props: { name: string; version: string; versions: string[]; onGone: () => Promise<unknown> }) {
  const { name, version } = props;
  const fault = useSignal("");
  const agent = known.value.get(keyOf(name, version));
  useEffect(() => {
    readAgent(name, version).catch((error: unknown) => (fault.value = messageOf(error)));
  }, [name, version]);
  if (fault.value) return <Fault text={fault.value} />;
  if (!agent) return <p class="loading">Reading…</p>;
  const remove = async () => {
    const path = `api/v1/registry/local/${at(name, version)}`;
    if (!(await attempt(() => send("DELETE", path), `${name} ${version} is removed.`))) return;
    await props.onGone();
    go(link(["registry"]));
  };
  return (
    <article class="agent-page">
      <header>
        <h2>{name}</h2>
        {props.versions.length > 1 ? (
          <select
            aria-label="Version"
            value={version}
            onChange={(event) => go(link(["registry", name, event.currentTarget.value]))}
          >
            {props.versions.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        ) : (
          <small>{version}</small>
        )}
        <span class="spring" />
        <a class="button primary" href={link(["new"], { agent: name, version })}>
          <Icon name="play" /> Use it
        </a>
        <SureButton kind="quiet" icon="trash" sure={`Remove ${name} ${version}?`} onSure={() => void remove()}>
          Remove
        </SureButton>
      </header>
      {agent.info.description && <p class="lead">{agent.info.description}</p>}
      {agent.info.readme && <div class="readme markdown" dangerouslySetInnerHTML={{ __html: html(agent.info.readme) }} />}
      {!!agent.info.keywords?.length && (
        <p class="chips">
          {agent.info.keywords.map((each) => (
            <span key={each} class="chip">
              {each}
            </span>
          ))}
        </p>
      )}
      <h3>Runs as</h3>
      <Runtimes agent={agent} />
      <h3>Options</h3>
      <Options agent={agent} />
      {!!agent.llm?.proxies?.length && (
        <>
          <h3>Needs models</h3>
          <ul>
            {agent.llm.proxies.map((proxy) => (
              <li key={proxy.name}>
                <strong>{proxy.name}</strong> {proxy.format.type}: {(proxy.models ?? []).join(", ") || "any model"}
              </li>
            ))}
          </ul>
        </>
      )}
    </article>
  );
}

function Runtimes({ agent }: { agent: RegistryAgent }) {
  const { executable, docker } = agent.runtimes;
  return (
    <ul class="runtimes">
      {runtimesOf(agent).map((runtime) => (
        <li key={runtime}>
          <strong>{runtime}</strong>
          {runtime === "executable" && executable && <code>{[executable.path, ...(executable.arguments ?? [])].join(" ")}</code>}
          {runtime === "docker" && docker && <code>{[docker.image, ...(docker.command ?? [])].join(" ")}</code>}
        </li>
      ))}
    </ul>
  );
}

function Options({ agent }: { agent: RegistryAgent }) {
  const options = Object.entries(agent.options ?? {});
  if (!options.length) return <p class="hint">It takes none.</p>;
  return (
    <div class="scroll" tabIndex={0} role="group" aria-label="Options">
      <table>
        <thead>
          <tr>
            <th>Name</th>
            <th>Type</th>
            <th>Default</th>
            <th>What for</th>
          </tr>
        </thead>
        <tbody>
          {options.map(([name, option]) => (
            <tr key={name}>
              <td>
                <code>{name}</code>
                {option.required && <span class="required"> required</span>}
              </td>
              <td>{option.type}</td>
              <td>{defaultOf(option)}</td>
              <td>{option.display?.description ?? option.description ?? option.display?.label}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function defaultOf(option: AgentOption): string {
  if ("secret" in option && option.secret) return "secret";
  return option.default == null ? "" : textOf({ type: option.type, value: option.default } as OptionValue).replaceAll("\n", ", ");
}

const EXAMPLE = `edition = 4

[agent]
name = "my-agent"
version = "1.0.0"
description = "What it does, for other agents"

[runtimes.executable]
path = "python"
arguments = ["agent.py"]
`;

function AddAgent({ onClose }: { onClose: () => void }) {
  const text = useSignal(EXAMPLE);
  const fault = useSignal("");
  const add = async () => {
    const [name, version] = [inFile(text.value, "name"), inFile(text.value, "version")];
    if (!name || !version) {
      fault.value = "[agent] has a name and a version.";
      return;
    }
    try {
      await send("PUT", `api/v1/registry/local/${at(name, version)}`, text.value, "application/toml");
      await readRegistry();
      onClose();
      go(link(["registry", name, version]));
    } catch (error) {
      fault.value = messageOf(error);
    }
  };
  return (
    <Dialog title="Add an agent" onClose={onClose}>
      <form
        class="fields"
        onSubmit={(event) => {
          event.preventDefault();
          void add();
        }}
      >
        <label>
          coral-agent.toml
          <textarea
            class="code-text"
            rows={16}
            spellcheck={false}
            value={text.value}
            aria-invalid={fault.value !== ""}
            onInput={(event) => (text.value = event.currentTarget.value)}
          />
        </label>
        {fault.value && (
          <p class="bad" role="alert">
            {fault.value}
          </p>
        )}
        <Button kind="primary" type="submit">
          Add
        </Button>
      </form>
    </Dialog>
  );
}

/** Find a text of the table [agent]: its name and version are part of the address, too. */
function inFile(text: string, key: string): string | undefined {
  const table = /^\s*\[agent\]\s*$([\s\S]*?)(?=^\s*\[|(?![\s\S]))/m.exec(text)?.[1] ?? "";
  return new RegExp(`^\\s*${key}\\s*=\\s*["']([^"']+)["']`, "m").exec(table)?.[1];
}
