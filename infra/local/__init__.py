"""Atoll on one machine: the app, the AWS it lives on (moto, in this process) and the agents, as real processes."""
