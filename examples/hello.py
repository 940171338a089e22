"""The smallest program: one task, called from here and run by a worker.

In one terminal:   kernel worker hello.py
In another:        python hello.py

Both find each other through kernel.db in the working directory; for another place, set KERNEL_TRANSPORT.
"""

from kernel import Kernel

app = Kernel("hello")


@app.task
def greet(name: str) -> str:
    """A task is a function; its arguments and its result must be JSON, or nearly."""
    return f"Hello, {name}!"


if __name__ == "__main__":
    result = greet.delay("world")
    print(result.get(timeout=30))
