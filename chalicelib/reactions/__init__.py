"""Consequences: what follows from the facts in the tables.

Given `Services`. Each reaction may run twice, late, or out of order.
"""
