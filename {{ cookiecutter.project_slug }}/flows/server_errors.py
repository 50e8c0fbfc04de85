"""Says in one sentence why a Prefect server cannot be used: the key, its version, the network."""

import httpx
from prefect.settings import PREFECT_API_URL

from flows import UserError


class ServerError(UserError):
    """A server cannot be used, though nothing that was given to the run is wrong."""

    exit_code = 1


def in_words(error: Exception) -> UserError | None:
    """Return what an error of Prefect's client says of its server; None for any other error."""
    address = str(PREFECT_API_URL.value())
    if not _asked(error).startswith(address):
        return None  # a task of a project may ask other servers
    said = str(error).partition("\n")[0]
    if isinstance(error, httpx.HTTPStatusError):
        if error.response.status_code == 401:
            return UserError(
                f"{address} does not accept your key: log in again with `prefect cloud login`, or "
                "set PREFECT_API_KEY (for a server of your own, PREFECT_API_AUTH_STRING)."
            )
        if error.response.status_code == 403:
            return UserError(
                f"{address} does not allow this with your key: choose a workspace of yours with "
                "`prefect cloud workspace set`, or ask for more rights in this one."
            )
        return ServerError(f"{address} cannot be used: {said}.")
    if said.startswith("Found incompatible versions"):
        return ServerError(f"{address} cannot be used: {said}")
    # Prefect's own words for an attempt to connect that failed, whatever was answered.
    if isinstance(error, httpx.TransportError) or said.startswith("Failed to reach API"):
        return ServerError(
            f"{address} cannot be reached: see whether a Prefect server runs there, check the "
            "network and the proxy, or use the project's own server (unset PREFECT_API_URL, or "
            "`prefect cloud logout`)."
        )
    return None


def _asked(error: Exception) -> str:
    """Return the address that was asked; that of Prefect's server where the error names none."""
    try:
        return str(error.request.url)  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):
        return str(PREFECT_API_URL.value())
