-- The next messages: ready ones, the urgent first, then delayed ones. KEYS: base. ARGV: limit.
local base, limit, found = KEYS[1], tonumber(ARGV[1]), {}
refresh(base, milliseconds())
for priority = 9, 0, -1 do
  if #found < limit then
    for _, message in ipairs(redis.call('LRANGE', base .. ':' .. priority, 0, limit - #found - 1)) do
      found[#found + 1] = message
    end
  end
end
if #found < limit then
  for _, member in ipairs(redis.call('ZRANGE', base .. ':delayed', 0, limit - #found - 1)) do
    found[#found + 1] = string.sub(member, NONCE + 1)
  end
end
return found
