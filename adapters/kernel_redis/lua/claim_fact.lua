-- Who owns each key now. KEYS: claims. ARGV: owner and time to live (ms) of each. Answer: the owners.
local owners = {}
for i, key in ipairs(KEYS) do
  local owner, ttl = ARGV[2 * i - 1], ARGV[2 * i]
  local stands = redis.call('GET', key)
  if not stands or stands == owner then
    redis.call('SET', key, owner, 'PX', ttl)
    stands = owner
  end
  owners[i] = stands
end
return owners
