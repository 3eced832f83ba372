"""What a custom tool cannot be named is what Coral's tools are named."""

from chalicelib.mcp.tools import CORAL_TOOLS
from chalicelib.wire.custom_tools import CORAL_TOOL_NAMES


def test_no_tool_of_coral_is_left_out() -> None:
    assert {tool.name for tool in CORAL_TOOLS} == CORAL_TOOL_NAMES
