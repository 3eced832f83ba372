"""Step Functions on one machine."""
