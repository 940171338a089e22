-- Lease due entries. KEYS: base. ARGV: now (seconds, of the caller), limit, lease (ms). Answer: key, entry, key, entry...
local base, limit, now, found = KEYS[1], tonumber(ARGV[2]), milliseconds(), {}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', base .. ':taken', '-inf', now, 'LIMIT', 0, 1000)) do
  redis.call('ZREM', base .. ':taken', key)
  redis.call('ZADD', base .. ':due', score(due_at(redis.call('HGET', base .. ':parked', key))), key)
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', base .. ':due', '-inf', ARGV[1], 'LIMIT', 0, limit)) do
  redis.call('ZREM', base .. ':due', key)
  redis.call('ZADD', base .. ':taken', now + tonumber(ARGV[3]), key)
  found[#found + 1] = key
  found[#found + 1] = redis.call('HGET', base .. ':parked', key)
end
return found
