"""Settings of this machine that could stop a run: proxies, certificates, Prefect's settings.

Prefect's client (httpx) refuses to work if such a variable is invalid, needed or not.
"""

import io
import os
import re
import socket
import ssl
import sys
from contextlib import redirect_stderr
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, getproxies_environment

from runtime.errors import Unavailable, UserError, printable, without_password

HERE = ("127.0.0.1", "localhost")
# What httpx can use as a proxy; for SOCKS it needs another package.
PROXY = re.compile(r"(https?://)?(.*@)?([^:/\s]+|\[[0-9a-f:]+\])(:\d+)?(/.*)?", re.IGNORECASE)
# And as an entry of NO_PROXY: for example, no range of IPv6 addresses.
EXCEPTION = re.compile(r"[ -9;-Z^-~]+(:\d+)?|[\da-f:]+", re.IGNORECASE)
CONNECT_TIMEOUT_SECONDS = 10


def avoid_proxies() -> None:
    """Keep this process and those it starts from asking a proxy for a server on this machine.

    Proxies and exceptions that httpx cannot read are removed.
    """
    proxies = getproxies_environment()  # of http_proxy and HTTP_PROXY, the one that counts
    for name in ("http", "https", "all"):
        if name in proxies and not PROXY.fullmatch(proxies[name]):
            os.environ.pop(f"{name}_proxy", None)
            os.environ.pop(f"{name}_proxy".upper(), None)
    hosts = [host.strip() for host in proxies.get("no", "").split(",")]
    exceptions = dict.fromkeys([*HERE, *filter(EXCEPTION.fullmatch, hosts)])
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(exceptions)


def check_certificates(url: str) -> None:
    """Unset variables that name no file of certificates; raise `UserError` for an https `url`."""
    for name in ("SSL_CERT_FILE", "PREFECT_API_SSL_CERT_FILE"):
        try:
            if file := os.environ.get(name):
                ssl.create_default_context(cafile=file)
        except OSError:
            del os.environ[name]
            if url.startswith("https:"):
                text = f"{name}={printable(str(file))} is no file of certificates"
                raise UserError(f"{text}: correct it, or unset it.") from None


def check_address(api_url: str) -> None:
    """Raise `Unavailable` if nothing listens at an address; Prefect's client would retry."""
    try:
        address = urlsplit(api_url)
        port = address.port or (443 if address.scheme == "https" else 80)
        if getproxies().keys() <= {"no"}:  # else that client may ask a proxy for it
            socket.create_connection((str(address.hostname), port), CONNECT_TIMEOUT_SECONDS).close()
    except (OSError, ValueError):
        raise unreachable(api_url) from None


def unreachable(api_url: str) -> Unavailable:
    """Return the error for a Prefect server that does not answer."""
    url = without_password(api_url)
    if not re.search(r"^https?://.*/api\b", url):
        advice = "is no address of a Prefect API: write it as http://host:4200/api, with /api"
        return Unavailable(f"{url} {advice}.")
    return Unavailable(
        f"{url} cannot be reached: see whether a Prefect server runs there, check the network and "
        "the proxy, or use the project's own server (unset PREFECT_API_URL, or `prefect cloud "
        "logout`)."
    )


def import_prefect() -> None:
    """Import Prefect; raise `UserError` for settings that it cannot read.

    What Prefect prints about such a setting is in the error, too, and not shown.
    """
    try:
        with redirect_stderr(io.StringIO()) as printed:
            import prefect.context  # noqa: F401
    except Exception as error:
        raise UserError(_about_settings(error)) from error
    sys.stderr.write(printed.getvalue())


def _about_settings(error: Any) -> str:
    where = "(a variable, or in prefect.toml, .env or profiles.toml)"
    detail: Any = error.errors()[0] if hasattr(error, "errors") else {}
    if not detail.get("loc"):
        return f"Prefect's settings {where} cannot be read: {detail.get('msg', error)}."
    reason = detail["msg"].removeprefix("Input ").removeprefix("Value error, ")
    section = re.sub("(?<=[a-z])(?=[A-Z])", "_", error.title.removesuffix("Settings"))
    name = "_".join(filter(None, ["PREFECT", section, *map(str, detail["loc"])])).upper()
    return f"{name}={printable(str(detail['input']))!r} {where} is not allowed, it {reason}."
