"""Runs the Python blocks of one page in order, as a reader would who types them in: `python read_along.py PAGE`.

One namespace for the page. A block whose first line is `# shop.py` is saved under that name and imported; one that is
called `test_...` is given to pytest at the end. In a block with `>>>` each output is compared. Before such a block a
worker of the page's `app` is started, in a thread. The transport, where a page names none, is one in memory.
"""

from __future__ import annotations

import doctest
import importlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from docs.pages import Block, blocks

from kernel import Kernel
from kernel.worker.worker import Worker

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


class Reader:
    """Reads one page."""

    def __init__(self, page: Path) -> None:
        self.page = page
        self.names: dict[str, Any] = {"__name__": "shop", "app": Kernel("shop")}
        self.workers: list[tuple[Kernel, Worker, threading.Thread]] = []

    def read(self) -> int:
        """Run everything; returns the number of examples in sessions that came out differently."""
        failed = 0
        for block in blocks(self.page):
            if block.language != "python" or block.excuse:
                continue
            if block.file:
                self._save(block)
            elif ">>> " in block.text:
                failed += self._session(block)
            else:
                # Blank lines keep the line numbers of the page in tracebacks.
                code = compile("\n" * (block.line - 1) + block.text, str(self.page), "exec", dont_inherit=True)
                exec(code, self.names)
        return failed + self._tests()

    def _save(self, block: Block) -> None:
        Path(block.file).write_text(block.text, "utf-8")
        if not block.file.startswith("test_"):
            module = importlib.import_module(block.file.removesuffix(".py"))
            self.names.update({name: value for name, value in vars(module).items() if not name.startswith("__")})

    def _tests(self) -> int:
        if not list(Path().glob("test_*.py")):
            return 0
        # Our plugin by its module: the tree may be newer than what is installed.
        own = ["-p", "no:kernel", "-p", "kernel.fixtures"]
        command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", *own]
        return subprocess.run(command, check=False).returncode

    def _session(self, block: Block) -> int:
        self._work(self.names["app"])
        session = doctest.DocTestParser().get_doctest(block.text, {}, self.page.name, str(self.page), block.line - 1)
        session.globs = self.names
        return doctest.DocTestRunner(optionflags=FLAGS).run(session, clear_globs=False).failed

    def _work(self, app: Kernel) -> None:
        """Have a worker for this application."""
        if all(known is not app for known, _, _ in self.workers):
            app.command_line.update(pool="threads", health_interval=0.05)
            worker = Worker(app)
            thread = threading.Thread(target=worker.run, name="worker")
            thread.start()
            self.workers.append((app, worker, thread))

    def close(self) -> None:
        """Stop the workers."""
        for _, worker, _ in self.workers:
            worker.quit()
        for _, _, thread in self.workers:
            thread.join(20)


if __name__ == "__main__":
    sys.path.insert(0, "")
    reader = Reader(Path(sys.argv[1]))
    try:
        status = reader.read()
    finally:
        reader.close()
    sys.exit(status)
