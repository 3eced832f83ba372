"""Atoll: Coral sessions over DynamoDB, Step Functions, ECS and EventBridge."""
