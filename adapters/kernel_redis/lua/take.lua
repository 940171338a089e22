-- Take tokens from buckets. KEYS: buckets. ARGV: number, rate (per second) and burst of each.
-- Answer: for each, as text, 0 when they were taken, else the seconds until they are there, or inf.
local time, waits = redis.call('TIME'), {}
local now = time[1] + time[2] / 1000000
for i, key in ipairs(KEYS) do
  local n, rate, burst = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local bucket = redis.call('HMGET', key, 'tokens', 'at')
  local tokens, at = tonumber(bucket[1]) or burst, tonumber(bucket[2]) or now
  tokens = math.min(burst, tokens + math.max(0, now - at) * rate)
  if n > burst then
    waits[i] = 'inf'
  elseif tokens >= n then
    tokens = tokens - n
    redis.call('HSET', key, 'tokens', string.format('%.17g', tokens), 'at', string.format('%.17g', now))
    -- A full bucket is as good as none.
    redis.call('PEXPIRE', key, math.ceil(math.min(1e12, (burst - tokens) / rate * 1000)) + 1)
    waits[i] = '0'
  else
    waits[i] = string.format('%.17g', (n - tokens) / rate)
  end
end
return waits
