"""Facts: what Atoll does to its tables, in Coral's words. Takes `Stores`, raises `domain.errors`, knows no HTTP."""
