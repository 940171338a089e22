"""A program whose callers are greenlets of one thread: `python green_callers.py gevent|eventlet URL`."""

import sys
import warnings

warnings.simplefilter("ignore")
kind, url = sys.argv[1:]
if kind == "gevent":
    from gevent import monkey

    monkey.patch_all()
    from gevent import spawn

    def join(greenlets):
        return [greenlet.get(timeout=20) for greenlet in greenlets]
else:
    import eventlet

    eventlet.monkey_patch()
    from eventlet import spawn

    def join(greenlets):
        return [greenlet.wait() for greenlet in greenlets]


from kernel import Kernel  # noqa: E402 - what is imported must be patched first

app = Kernel("callers", transport=url)


def call(number):
    return app.send_task("add", (number, 1)).get(timeout=15)


print(join([spawn(call, number) for number in range(20)]))
