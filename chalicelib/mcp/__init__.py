"""The agents' door: the Model Context Protocol, its tools and its resources."""
