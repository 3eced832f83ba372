"""Lambda on one machine: the app's own handlers."""
