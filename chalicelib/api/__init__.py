"""Chalice blueprints of the REST API: HTTP routes in, wire models out."""
