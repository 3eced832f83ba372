"""What can be known before a deployment of whether it will succeed, and how far the stage will go (``--check``).

Every module asks about one subject, changes nothing, and yields findings. One that may not read something says so and
leaves the others alone.
"""
