-- Settle for good. KEYS: base. ARGV: receipts. Answer: indexes (from 0) of those whose lease was lost.
local leases, held = KEYS[1] .. ':leases', KEYS[1] .. ':held'
local lost = {}
if redis.call('ZREM', leases, unpack(ARGV)) < #ARGV then
  for i, receipt in ipairs(ARGV) do
    if redis.call('HEXISTS', held, receipt) == 0 then
      lost[#lost + 1] = i - 1
    end
  end
end
redis.call('HDEL', held, unpack(ARGV))
return lost
