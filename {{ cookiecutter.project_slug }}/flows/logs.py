"""What of Prefect's log is shown in the terminal; the dashboard always shows all of it."""

import logging
from copy import copy

from prefect.logging.handlers import PrefectConsoleHandler

from flows import server


class PlainConsoleHandler(PrefectConsoleHandler):
    """Prefect's console handler, without tracebacks (`--debug` is for them) and without noise."""

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, unless it says nothing to a person; other handlers get it whole."""
        message = record.getMessage()
        leads_nowhere = message.startswith("View at ") and server.ends_with_this_run
        if leads_nowhere or "ook 'finish_run'" in message:
            return
        record = copy(record)
        record.exc_info = record.exc_text = None
        super().emit(record)
