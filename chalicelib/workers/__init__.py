"""Chalice blueprints of the Lambdas that AWS calls: lifecycle tasks, streams, task events, deliveries."""
