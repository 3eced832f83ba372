"""EventBridge on one machine."""
