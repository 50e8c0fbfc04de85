"""A run that is cancelled in the dashboard ends, as Cancelled in Prefect and in its run.json."""

import signal
import threading
from _thread import interrupt_main
from contextlib import suppress
from contextvars import copy_context
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client

LOOK_EVERY_SECONDS = 2
ENDS = {"CANCELLING": "Cancelled", "CANCELLED": "Cancelled", "PAUSED": "Paused"}

was_cancelled = threading.Event()  # of the run of this process


def interrupted_state(flow_run_id: str) -> str:
    """Return how a run ended whose process was interrupted: Prefect knows on whose behalf."""
    with suppress(Exception), get_client(sync_client=True) as client:  # the server may be gone
        return _end(client, flow_run_id)
    return "Crashed"


def watch(flow_run_id: str) -> None:
    """Interrupt the main thread when a run is cancelled, as Prefect's runner does for its own."""

    def look() -> None:
        with get_client(sync_client=True) as client:
            while not was_cancelled.wait(LOOK_EVERY_SECONDS):
                with suppress(Exception):  # the server is busy, or gone
                    if _end(client, flow_run_id) == "Cancelled":
                        was_cancelled.set()
        if hasattr(signal, "pthread_kill"):  # wakes the thread, too, where it sleeps
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
        else:
            interrupt_main(signal.SIGTERM)

    # With this thread's settings for Prefect's client.
    threading.Thread(target=copy_context().run, args=(look,), daemon=True).start()


def _end(client: SyncPrefectClient, flow_run_id: str) -> str:
    state = client.read_flow_run(UUID(flow_run_id)).state
    return ENDS.get(state.type.value if state else "", "Crashed")
