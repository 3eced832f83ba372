/** The field of one option, made of its definition. */
import type { AgentOption, OptionValue } from "../types.ts";
import { faultOf, textOf, valueOf } from "./draft.ts";

export function OptionField(props: {
  id: string;
  name: string;
  option: AgentOption;
  value: OptionValue | undefined;
  onChange: (value: OptionValue | undefined) => void;
}) {
  const { id, name, option, value } = props;
  const text = textOf(value);
  const fault = faultOf(option, value);
  const hint = option.display?.description ?? option.description;
  const change = (next: string) => props.onChange(valueOf(option, next));
  return (
    <div class="field">
      <label for={id}>
        {option.display?.label ?? name}
        {option.required && <span class="required"> required</span>}
        <small>
          {name} · {option.type}
        </small>
      </label>
      <Input id={id} option={option} text={text} hasFault={fault !== ""} onChange={change} />
      {hint && <p class="hint">{hint}</p>}
      {fault && (
        <p class="bad" id={`${id}-fault`}>
          {fault}
        </p>
      )}
    </div>
  );
}

function Input(props: {
  id: string;
  option: AgentOption;
  text: string;
  hasFault: boolean;
  onChange: (text: string) => void;
}) {
  const { id, option, text } = props;
  const isList = option.type.startsWith("list[");
  const rules = ("validation" in option ? option.validation : undefined) as { variants?: unknown[] | null } | undefined;
  const fallback = option.default == null ? "" : textOf({ type: option.type, value: option.default } as OptionValue);
  const shared = {
    id,
    value: text,
    "aria-invalid": props.hasFault,
    ...(props.hasFault ? { "aria-describedby": `${id}-fault` } : {}),
  };
  if (option.type === "bool" || (rules?.variants?.length && !isList))
    return (
      <select {...shared} onChange={(event) => props.onChange(event.currentTarget.value)}>
        <option value="">{fallback ? `default: ${fallback}` : "not set"}</option>
        {(option.type === "bool" ? ["true", "false"] : rules!.variants!).map((each) => (
          <option key={String(each)}>{String(each)}</option>
        ))}
      </select>
    );
  if (isList || option.display?.multiline)
    return (
      <textarea
        {...shared}
        rows={isList ? 2 : 4}
        placeholder={fallback || (isList ? "one a line" : "")}
        onInput={(event) => props.onChange(event.currentTarget.value)}
      />
    );
  const isSecret = "secret" in option && option.secret;
  const onInput = (event: { currentTarget: HTMLInputElement }) => props.onChange(event.currentTarget.value);
  if (isSecret) return <input {...shared} type="password" autocomplete="off" onInput={onInput} />;
  return <input {...shared} autocomplete="off" placeholder={fallback} onInput={onInput} />;
}
