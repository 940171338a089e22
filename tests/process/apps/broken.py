"""Cannot be imported."""

raise RuntimeError("this application is broken")
