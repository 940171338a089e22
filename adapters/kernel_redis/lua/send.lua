-- Store ready messages of one queue and one priority, in order. KEYS: base. ARGV: priority, messages.
redis.call('RPUSH', KEYS[1] .. ':' .. ARGV[1], unpack(ARGV, 2))
wake(KEYS[1])
