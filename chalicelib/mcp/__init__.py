"""The agents' endpoint: the Model Context Protocol, its tools and its resources."""
