"""puppet: be there and do nothing, until ended. Others speak in its name, through the puppet API."""

import asyncio

from coral_agent import Session


async def work(_session: Session) -> None:
    """Stay connected for ever; run.py ends the process on SIGTERM."""
    await asyncio.Event().wait()
