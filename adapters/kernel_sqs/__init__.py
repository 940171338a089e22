"""Amazon SQS: a transport."""
