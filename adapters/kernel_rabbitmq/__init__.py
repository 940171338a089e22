"""RabbitMQ: a transport on quorum queues, or on classic ones."""

from kernel_rabbitmq.transport import RabbitmqTransport

__all__ = ["RabbitmqTransport"]
