"""Names its pool too late: the sockets that this module has imported are not patched."""

from kernel.app import Kernel

app = Kernel("green", pool="gevent")


@app.task(name="noop")
def noop() -> None:
    return None
