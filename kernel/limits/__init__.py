"""How often, how many at once and how often again: limits of tasks, shared by all workers through the store."""

from kernel.limits.terms import Concurrency, Debounce, Rate, Unique, Window

__all__ = ["Concurrency", "Debounce", "Rate", "Unique", "Window"]
