"""API Gateway: serves the Chalice app over HTTP/1.1, and sockets beside it, with uvicorn."""

from infra.local.api_gateway.gateway import Gateway

__all__ = ["Gateway"]
