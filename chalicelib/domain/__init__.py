"""What Atoll does, in Coral's words. Raises its own errors and knows no HTTP."""
