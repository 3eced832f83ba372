"""Where Atoll runs: its templates, how they are deployed, and the local stack."""
