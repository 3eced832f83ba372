"""The app whose sessions the peer keeps; its agent never runs."""

from google.adk.agents import Agent

root_agent = Agent(name="idle", model="none")
