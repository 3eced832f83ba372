/** Who knows whom: agents that share a group do. */
import { Button } from "../ui.tsx";
import { everyone } from "./draft.ts";

export function Groups(props: { names: string[]; groups: string[][]; onChange: (groups: string[][]) => void }) {
  const { names, groups } = props;
  const all = everyone(names.map((name) => ({ name }) as never));
  const isEveryone = JSON.stringify(groups) === JSON.stringify(all);
  const toggle = (index: number, name: string) =>
    props.onChange(
      groups.map((group, other) =>
        other !== index ? group : group.includes(name) ? group.filter((each) => each !== name) : [...group, name],
      ),
    );
  return (
    <fieldset class="group">
      <legend>Who knows whom</legend>
      <label class="toggle">
        <input
          type="checkbox"
          checked={isEveryone}
          onChange={(event) => props.onChange(event.currentTarget.checked ? all : names.slice(1).map((name) => [names[0]!, name]))}
        />
        everyone knows everyone
      </label>
      {!isEveryone && (
        <>
          {groups.map((group, index) => (
            <div key={index} class="chips" role="group" aria-label={`Group ${index + 1}`}>
              {names.map((name) => (
                <label key={name} class="toggle">
                  <input type="checkbox" checked={group.includes(name)} onChange={() => toggle(index, name)} />
                  {name}
                </label>
              ))}
              <Button
                kind="quiet"
                icon="trash"
                aria-label={`Remove group ${index + 1}`}
                onClick={() => props.onChange(groups.filter((_, other) => other !== index))}
              />
            </div>
          ))}
          <Button kind="quiet" icon="plus" onClick={() => props.onChange([...groups, []])}>
            Add a group
          </Button>
        </>
      )}
    </fieldset>
  );
}
