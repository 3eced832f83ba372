"""Consequences: what follows from the facts in the tables.

Its functions take `Services`. Each reaction may run twice, late, or out of order.
"""
