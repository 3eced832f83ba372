/** Who may speak to whom, and how much they did. */
import { Agent } from "../ui.tsx";
import type { SessionSource } from "./source.ts";

const SIZE = 420;

export function Graph({ source }: { source: SessionSource }) {
  const agents = source.agents.value;
  const places = new Map(
    agents.map((agent, index) => {
      const angle = (index / Math.max(1, agents.length)) * 2 * Math.PI - Math.PI / 2;
      const radius = agents.length > 1 ? SIZE * 0.34 : 0;
      return [agent.name, { x: SIZE / 2 + radius * Math.cos(angle), y: SIZE / 2 + radius * Math.sin(angle) }];
    }),
  );
  const counts = new Map<string, number>();
  for (const { message, arrivals } of source.timeline.sendings) {
    for (const name of new Set([...arrivals.map((each) => each.agent), ...message.mentionNames])) {
      const key = [message.senderName, name].sort().join("\n");
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  const most = Math.max(1, ...counts.values());
  const pairs = new Set(agents.flatMap((agent) => agent.links.map((other) => [agent.name, other].sort().join("\n"))));
  return (
    <div class="graph" role="tabpanel" aria-label="Graph">
      <svg viewBox={`0 0 ${SIZE} ${SIZE}`} role="img" aria-label="Agents and their links">
        {[...pairs].map((pair) => {
          const [one, other] = pair.split("\n").map((name) => places.get(name));
          if (!one || !other) return null;
          const count = counts.get(pair) ?? 0;
          return (
            <line
              key={pair}
              class={count ? "" : "unused"}
              x1={one.x}
              y1={one.y}
              x2={other.x}
              y2={other.y}
              stroke-width={1 + (count / most) * 5}
            />
          );
        })}
        {agents.map((agent) => {
          const { x, y } = places.get(agent.name)!;
          return (
            <g key={agent.name} class={`node node-${source.timeline.activityOf(agent.name) ?? "none"}`}>
              <circle cx={x} cy={y} r="24" />
              <text x={x} y={y + 42}>
                {agent.name.length > 18 ? `${agent.name.slice(0, 17)}…` : agent.name}
              </text>
              <text class="node-letter" x={x} y={y + 5}>
                {[...agent.name][0]?.toUpperCase()}
              </text>
            </g>
          );
        })}
      </svg>
      <table>
        <thead>
          <tr>
            <th>Between</th>
            <th>Messages</th>
          </tr>
        </thead>
        <tbody>
          {[...pairs]
            .sort((one, other) => (counts.get(other) ?? 0) - (counts.get(one) ?? 0))
            .map((pair) => {
              const [one = "", other = ""] = pair.split("\n");
              return (
                <tr key={pair}>
                  <td>
                    <Agent name={one} /> <Agent name={other} />
                  </td>
                  <td>{counts.get(pair) ?? 0}</td>
                </tr>
              );
            })}
        </tbody>
      </table>
    </div>
  );
}
