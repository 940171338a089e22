def apply(name: str) -> None:
    assert not name
