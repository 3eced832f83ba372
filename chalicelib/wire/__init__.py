"""Pydantic models of what crosses the wire, under Coral's names; one module a resource."""
