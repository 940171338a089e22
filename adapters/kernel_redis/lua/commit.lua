-- Publish the sends of each delivery and settle it; of a lost delivery nothing. KEYS: bases.
-- ARGV: window of keys (ms), then for each delivery the index of its base, its receipt and the number of its sends, and
-- for each send the index of its base, priority, due (ms), key, nonce, message. Answer: indexes (from 0) of the lost.
local now, lost, at, delivery = milliseconds(), {}, 2, 0
while at <= #ARGV do
  local base, receipt, sends = KEYS[tonumber(ARGV[at])], ARGV[at + 1], tonumber(ARGV[at + 2])
  at = at + 3
  local is_held = redis.call('ZREM', base .. ':leases', receipt) == 1
  if is_held then
    redis.call('HDEL', base .. ':held', receipt)
  else
    lost[#lost + 1] = delivery
  end
  for i = at, at + 6 * sends - 1, 6 do
    if is_held then
      store(
        KEYS[tonumber(ARGV[i])], now, ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[1], ARGV[i + 4], ARGV[i + 5]
      )
    end
  end
  at, delivery = at + 6 * sends, delivery + 1
end
return lost
