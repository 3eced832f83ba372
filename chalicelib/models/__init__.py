"""The LLM proxy: how agents reach language models, and what that costs."""
