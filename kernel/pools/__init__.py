"""Pools: how one worker process runs its jobs. They know the ports and nothing of tasks."""
