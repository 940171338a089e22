"""One module per system: its application, its settings, how it sends and how it is waited for.

Each is also a script (`python celery_.py bulk`) that runs in the virtual environment of its system, so nothing here
imports kernel or another part of this package; only `kernel_` imports kernel. The modules find each other by their
plain names, because the folder of a script is on its path.
"""
