"""RabbitMQ: a transport."""
