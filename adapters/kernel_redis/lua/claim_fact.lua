-- Who owns each key now. KEYS: claims. ARGV: owner, time to live (ms) and whether (1) only to renew of each.
-- Answer: the owners, "" for nobody.
local owners = {}
for i, key in ipairs(KEYS) do
  local owner, ttl, renew = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  local stands = redis.call('GET', key)
  if stands == owner or (not stands and renew ~= '1') then
    redis.call('SET', key, owner, 'PX', ttl)
    stands = owner
  end
  owners[i] = stands or ''
end
return owners
