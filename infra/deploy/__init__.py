"""Deploys Atoll to AWS, by Chalice and CloudFormation (``atoll deploy``) or as a template for pipelines."""


class Failed(Exception):
    """A stage cannot be deployed, packaged or destroyed as asked; the message says why."""
