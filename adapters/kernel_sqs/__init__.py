"""Amazon SQS: a transport on standard and FIFO queues, with payloads in S3 where they are too large for a message."""

from kernel_sqs.transport import SqsTransport

__all__ = ["SqsTransport"]
