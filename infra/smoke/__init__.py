"""Proves on AWS what documents cannot: deploys a throwaway stage, checks it, destroys it and lists what is left.

``atoll smoke --stage smoke``, or ``make smoke``. docs/operations.md says what it proves and what it costs.
"""
