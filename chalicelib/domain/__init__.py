"""Facts: what Atoll does to its tables, in Coral's words. Given `Stores`, raises its own errors, knows no HTTP."""
