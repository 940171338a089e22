"""Redis, and what speaks its protocol: transport, result store, coordination and schedule store."""

from kernel_redis.coordination import RedisCoordination
from kernel_redis.results import RedisResults
from kernel_redis.schedules import RedisSchedules
from kernel_redis.transport import RedisTransport

__all__ = ["RedisCoordination", "RedisResults", "RedisSchedules", "RedisTransport"]
