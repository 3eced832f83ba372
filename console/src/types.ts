/** The shapes of the API, as its OpenAPI document has them. */
import type { components } from "./generated/api.d.ts";

type Schemas = components["schemas"];

export type SessionState = Schemas["SessionStateBase"];
export type AgentState = Schemas["ListedAgentState"];
export type AgentId = Schemas["RegistryAgentIdentifier-Output"];
export type NamespaceState = Schemas["SessionNamespaceStateBase"];
export type Message = Schemas["SessionThreadMessage"];
export type HistoryEntry = Schemas["HistoryEntry"];
export type HistoricSession = Schemas["HistoricSession"];
export type Summary = Schemas["SessionSummary"];
export type EndReport = Schemas["SessionEndReport"];
export type Delivery = Schemas["Delivery"];
export type SessionRequest = Schemas["SessionRequest"];
export type AgentRequest = Schemas["GraphAgentRequest"];
export type Source = Schemas["AgentRegistrySource"];
export type RegistryAgent = Schemas["RegistryAgent"];
export type AgentOption = NonNullable<RegistryAgent["options"]>[string];
export type OptionValue = NonNullable<AgentRequest["options"]>[string];
export type Budgets = Schemas["Budgets"];
export type Balance = Schemas["Balance"];
export type BudgetRequest = Schemas["BudgetRequest"];
export type NewLimits = Schemas["NewLimits"];
export type ProxyRequest = Schemas["GraphAgentProxyRequest"];
export type LlmProxy = Schemas["LlmProxy"];
export type RuntimeId = AgentRequest["provider"]["runtime"];

export type LogLine =
  | Schemas["InfoEvent"]
  | Schemas["WarningEvent"]
  | Schemas["ErrorEvent"]
  | Schemas["DebugEvent"]
  | Schemas["TraceEvent"];

export type SessionEvent =
  | Schemas["RuntimeStarted"]
  | Schemas["RuntimeStopped"]
  | Schemas["DockerContainerCreated"]
  | Schemas["DockerContainerRemoved"]
  | Schemas["AgentConnected"]
  | Schemas["AgentWaitStart"]
  | Schemas["AgentWaitStop"]
  | Schemas["ThreadCreated"]
  | Schemas["ThreadParticipantAdded"]
  | Schemas["ThreadParticipantRemoved"]
  | Schemas["ThreadClosed"]
  | Schemas["ThreadMessageSent"]
  | Schemas["LlmProxyCall"];
