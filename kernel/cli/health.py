"""`kernel health`: one look at a running worker, for probes of containers and for people."""

from __future__ import annotations

import os
import time
from urllib.parse import urlsplit

import click

from kernel.cli.output import FAILED, Fault, duration, printable
from kernel.configuration.config import Config
from kernel.errors import ConfigError

#: Bytes of an answer that are looked at; what a worker says is shorter.
LONGEST_ANSWER = 65536
#: Addresses that mean all of the machine's, and where to ask then.
ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


@click.command()
@click.argument("target", required=False, metavar="[URL|FILE]")
@click.option("--ready", is_flag=True, help="Ask whether it takes in work, not only whether it is alive.")
@click.option(
    "--max-age",
    type=click.FloatRange(min=0),
    default=30.0,
    metavar="SECONDS",
    help="A file that was touched longer ago is no sign of life.",
)
@click.option("--timeout", type=click.FloatRange(min=0.01), default=2.0, metavar="SECONDS",
              help="Time for the answer of a URL.")  # fmt: skip
def health(target: str | None, ready: bool, max_age: float, timeout: float) -> None:
    """Ask a worker whether it is alive, or with --ready whether it takes in work: status 0 for yes, 1 for no.

    Without an argument the configuration says where: health_port and health_host, else liveness_file or
    readiness_file. For the HEALTHCHECK of an image and the exec probes of a pod.

    \b
    Examples:
      kernel health
      kernel health --ready http://127.0.0.1:8080
      kernel health /run/kernel.alive --max-age 60
    """
    target = target or _configured(ready)
    click.echo(_asked(target, ready, timeout) if "://" in target else _seen(target, max_age))


def _configured(ready: bool) -> str:
    """Where the worker of this configuration is to be asked."""
    settings = Config.load(environ=os.environ).worker
    if settings.health_port:
        host = ANYWHERE.get(settings.health_host, settings.health_host)
        return f"http://{f'[{host}]' if ':' in host else host}:{settings.health_port}"
    path = settings.readiness_file if ready else settings.liveness_file
    if not path:
        raise ConfigError(
            f"name a URL or a file, or set health_port or {'readiness' if ready else 'liveness'}_file, such as "
            f"KERNEL_HEALTH_PORT=8080, for the worker and for this command"
        )
    return path


def _seen(path: str, max_age: float) -> str:
    """The sign in a file; `Fault` when it is none."""
    try:
        age = time.time() - os.stat(path).st_mtime
    except OSError as error:
        raise Fault(f"{path}: {(error.strerror or str(error)).lower()}", FAILED) from None
    if age > max_age:
        raise Fault(f"{path} was touched {duration(age)} ago", FAILED)
    return f"{path} was touched {duration(max(0.0, age))} ago"


def _asked(url: str, ready: bool, timeout: float) -> str:
    """The answer of a port; `Fault` for a no, and for none."""
    # Neither proxies nor redirects: what is asked is the worker itself. And a few milliseconds, in this command alone.
    import http.client

    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "http" or not parts.hostname or port is None:
        raise ConfigError(f"{url} is not of the form http://HOST:PORT")
    path = parts.path if parts.path.strip("/") else "/ready" if ready else "/live"
    connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = printable(answer.read(LONGEST_ANSWER).decode("utf-8", "replace")).strip()
    except (OSError, http.client.HTTPException) as error:
        reason = "no answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        raise Fault(f"{url} does not answer: {reason}", FAILED) from None
    finally:
        connection.close()
    if answer.status != 200:
        raise Fault(f"{answer.status} {answer.reason}: {text}", FAILED)
    return text
