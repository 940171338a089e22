-- Take a slot of each semaphore. KEYS: sorted sets of owners by the ms at which they end.
-- ARGV: owner, limit, time to live (ms) and whose heir it is of each. Answer: 1 for a slot, 0 for none.
local time, got = redis.call('TIME'), {}
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for i, key in ipairs(KEYS) do
  local owner, limit, ttl = ARGV[4 * i - 3], tonumber(ARGV[4 * i - 2]), tonumber(ARGV[4 * i - 1])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  -- First what a full memory refuses: after another write it would not be refused any more.
  local held = redis.call('ZSCORE', key, owner) or redis.call('ZSCORE', key, ARGV[4 * i])
  if held or redis.call('ZCARD', key) < limit then
    redis.call('ZADD', key, now + ttl, owner)
    if ARGV[4 * i] ~= owner then
      redis.call('ZREM', key, ARGV[4 * i])
    end
    redis.call('PEXPIREAT', key, redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2])
    got[i] = 1
  else
    got[i] = 0
  end
end
return got
