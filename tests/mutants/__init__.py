"""Mutation tests: change the code at random, one place at a time, and see whether tests notice (`make mutants`)."""
