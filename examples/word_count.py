"""A batch job on files: count the words of every text file below a directory.

In one terminal:   kernel worker word_count.py --processes 2
In another:        python word_count.py some/directory
"""

import re
import sys
from collections import Counter
from pathlib import Path

from kernel import Kernel

app = Kernel("word_count")

#: Files per task: opening a small file takes less time than a message, so a task has several.
BATCH = 20
WORD = re.compile(r"[^\W\d_]+")


@app.task(soft_time_limit=60)
def count(paths: list[str]) -> dict[str, int]:
    """Word -> how often, for some files. Running it twice gives the same, so a repeated delivery does no harm."""
    words: Counter[str] = Counter()
    for path in paths:
        words.update(WORD.findall(Path(path).read_text("utf-8", "replace").lower()))
    return dict(words)


def main(directory: str) -> None:
    """Send one task per batch of files and add up."""
    files = sorted(str(path.resolve()) for path in Path(directory).rglob("*.txt") if path.is_file())
    batches = [(files[start : start + BATCH],) for start in range(0, len(files), BATCH)]
    total: Counter[str] = Counter()
    for result in app.as_completed(app.send_many(count, batches), timeout=300):
        total.update(result.get())
    print(f"{len(files)} files in {len(batches)} tasks, {total.total()} words, {len(total)} different")
    for word, times in sorted(total.items(), key=lambda item: (-item[1], item[0]))[:5]:
        print(f"{times:8} {word}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else ".")
