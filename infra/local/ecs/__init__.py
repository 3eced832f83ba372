"""ECS on one machine: tasks as processes."""
