"""Tasks that fail: one that succeeds when it is tried again, and one that ends as a dead letter.

In one terminal:   kernel worker retries.py
In another:        python retries.py
Then look at it:   kernel dead list -A retries.py
Mend and repeat:   kernel dead requeue -A retries.py --task retries.charge
"""

from kernel import Kernel, TaskFailed, current_request, get_task_logger

app = Kernel("retries")
log = get_task_logger(__name__)


class GatewayDown(Exception):
    """The payment service did not answer."""


@app.task(autoretry_for=(GatewayDown,), max_retries=3, default_retry_delay=0.1)
def fetch(order: int) -> str:
    """Works at the third attempt."""
    request = current_request()
    attempt = request.retries if request is not None else 0
    if attempt < 2:
        log.info("order %s: no answer, attempt %s", order, attempt)
        raise GatewayDown(f"no answer for order {order}")
    return f"order {order} after {attempt} retries"


@app.task(autoretry_for=(GatewayDown,), max_retries=2, default_retry_delay=0.1)
def charge(order: int) -> None:
    """Never works; after its retries the message waits among the dead letters for somebody to look at it."""
    raise GatewayDown(f"no answer for order {order}")


if __name__ == "__main__":
    fetched, charged = fetch.delay(7), charge.delay(8)
    print("fetch: ", fetched.get(timeout=30))
    try:
        charged.get(timeout=30)
    except TaskFailed as error:
        print("charge:", error)
