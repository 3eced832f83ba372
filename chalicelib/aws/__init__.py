"""The other services Atoll calls: ECS, Step Functions, EventBridge, Secrets Manager, outgoing HTTP."""
