-- Take a slot of each semaphore. KEYS: sorted sets of owners by the ms at which they end.
-- ARGV: owner, limit and time to live (ms) of each. Answer: 1 for a slot, 0 for none.
local time, got = redis.call('TIME'), {}
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i, key in ipairs(KEYS) do
  local owner, limit, ttl = ARGV[3 * i - 2], tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  if redis.call('ZSCORE', key, owner) or redis.call('ZCARD', key) < limit then
    redis.call('ZADD', key, now + ttl, owner)
    redis.call('PEXPIREAT', key, redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2])
    got[i] = 1
  else
    got[i] = 0
  end
end
return got
