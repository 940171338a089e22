"""An application on the third party's adapters."""

from __future__ import annotations

import os
from pathlib import Path

from kernel import Kernel

app = Kernel("thirdparty", serializer="shout", accept=("shout",), results="none")


@app.task(name="note", ignore_result=True)
def note(text: str) -> None:
    """Leave a file that says that this ran."""
    (Path(os.environ["THIRDPARTY_NOTES"]) / text).touch()
