-- Take tokens from buckets. KEYS: buckets. ARGV: number, rate (per second), burst, ahead and every (seconds) of each.
-- Answer: for each, as text, the seconds until they are there, 0 for now, or inf. They are taken if that is within ahead.
local time, waits = redis.call('TIME'), {}
local now = time[1] + time[2] / 1000000

-- Seconds until so many tokens more are there, when the last came `since` seconds ago.
local function until_there(missing, rate, every, since)
  if missing <= 0 then
    return 0
  elseif rate <= 0 then
    return math.huge
  elseif every > 0 then
    return math.ceil(missing / (rate * every) - 1e-9) * every - since
  end
  return missing / rate
end

for i, key in ipairs(KEYS) do
  local n, rate, burst = tonumber(ARGV[5 * i - 4]), tonumber(ARGV[5 * i - 3]), tonumber(ARGV[5 * i - 2])
  local ahead, every = tonumber(ARGV[5 * i - 1]), tonumber(ARGV[5 * i])
  local bucket = redis.call('HMGET', key, 'tokens', 'at')
  local tokens, at = tonumber(bucket[1]) or burst, tonumber(bucket[2]) or now
  local filled_at = math.max(at, now)
  if every > 0 then
    filled_at = at + math.floor(math.max(0, now - at) / every) * every
  end
  tokens = math.min(burst, tokens + (filled_at - at) * rate)
  local wait = until_there(n - tokens, rate, every, now - filled_at)
  if n > burst or wait == math.huge then
    waits[i] = 'inf'
  else
    if wait <= ahead then
      tokens = tokens - n
      redis.call('HSET', key, 'tokens', string.format('%.17g', tokens), 'at', string.format('%.17g', filled_at))
      -- A full bucket is as good as none.
      local full_in = until_there(burst - tokens, rate, every, now - filled_at)
      redis.call('PEXPIRE', key, math.ceil(math.min(1e12, full_in * 1000)) + 1)
    end
    waits[i] = string.format('%.17g', wait)
  end
end
return waits
