"""Agents that only tests need: each a coral-agent.toml over a program that every machine has."""

from pathlib import Path

HERE = Path(__file__).parent
SLEEPER = HERE / "sleeper"
CRASHER = HERE / "crasher"
MISSING = HERE / "missing"
PRINTER = HERE / "printer"
REPORTER = HERE / "reporter"
BOXED = HERE / "boxed"
THINKER = HERE / "thinker"
PROMPTED = HERE / "prompted"
TURNER = HERE / "turner"
