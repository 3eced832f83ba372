/** Which provider's model an agent is to get for each that it needs. The API names no providers: the operator knows them. */
import type { LlmProxy, ProxyRequest } from "../types.ts";
import { proxyFault, withProxy } from "./draft.ts";

type Chosen = Record<string, ProxyRequest>;

export function ProxyFields(props: { id: string; proxies: LlmProxy[]; chosen: Chosen; onChange: (chosen: Chosen) => void }) {
  return (
    <>
      {props.proxies.map((proxy) => {
        const id = `${props.id}-${proxy.name}`;
        const chosen = props.chosen[proxy.name];
        const fault = proxyFault(chosen);
        const set = (changes: Partial<ProxyRequest>) => props.onChange(withProxy(props.chosen, proxy.name, changes));
        const invalid = { "aria-invalid": fault !== "", ...(fault ? { "aria-describedby": `${id}-fault` } : {}) };
        return (
          <div key={proxy.name} role="group" aria-label={`Model ${proxy.name}`} class="proxy">
            <h4>
              {proxy.name} <small>{proxy.format.type}</small>
            </h4>
            <div class="field-row">
              <div class="field">
                <label for={`${id}-provider`}>
                  Provider <small>configurationName</small>
                </label>
                <input
                  id={`${id}-provider`}
                  autocomplete="off"
                  placeholder="the first that fits"
                  value={chosen?.configurationName ?? ""}
                  {...invalid}
                  onInput={(event) => set({ configurationName: event.currentTarget.value })}
                />
              </div>
              <div class="field">
                <label for={`${id}-model`}>
                  Model <small>modelName</small>
                </label>
                <input
                  id={`${id}-model`}
                  autocomplete="off"
                  list={`${id}-models`}
                  placeholder={(proxy.models ?? []).join(" or ") || "any"}
                  value={chosen?.modelName ?? ""}
                  {...invalid}
                  onInput={(event) => set({ modelName: event.currentTarget.value })}
                />
                <datalist id={`${id}-models`}>
                  {(proxy.models ?? []).map((model) => (
                    <option key={model} value={model} />
                  ))}
                </datalist>
              </div>
            </div>
            {fault && (
              <p class="bad" id={`${id}-fault`}>
                {fault}
              </p>
            )}
          </div>
        );
      })}
      <p class="hint">Left empty, it gets the first provider's that serves a model which it names. The operator knows the providers' names.</p>
    </>
  );
}
