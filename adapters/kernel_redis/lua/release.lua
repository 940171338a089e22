-- Give back to the front, in the order of receiving, uncounted. KEYS: base. ARGV: receipts. Answer: indexes of the lost.
local base, lost, given = KEYS[1], {}, false
local messages = redis.call('HMGET', base .. ':held', unpack(ARGV))
redis.call('ZREM', base .. ':leases', unpack(ARGV))
redis.call('HDEL', base .. ':held', unpack(ARGV))
local seen = {}
for i = #ARGV, 1, -1 do
  local message = messages[i]
  if not message then
    lost[#lost + 1] = i - 1
  elseif not seen[ARGV[i]] then
    seen[ARGV[i]], given = true, true
    redis.call('LPUSH', base .. ':' .. level(message), message)
  end
end
if given then
  wake(base)
end
return lost
