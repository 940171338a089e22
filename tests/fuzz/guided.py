"""One target under atheris: `python -m fuzz.guided TARGET CORPUS [options of libFuzzer]`."""

from __future__ import annotations

import sys

import atheris  # optional: not a dependency of the tests

with atheris.instrument_imports(include=["kernel", "kernel_seal"]):
    from fuzz.targets import TARGETS

if __name__ == "__main__":
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, lambda data: target(bytes(data)) and None)
    atheris.Fuzz()
