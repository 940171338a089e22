-- Add a member to each set. KEYS: sets. ARGV: member and time to live (ms) of each. Answer: the sizes.
-- Mostly all are members of one set, of which the first look is enough: then each costs one command.
local sizes, lives, now = {}, {}, {}
for i, key in ipairs(KEYS) do
  local added, ttl = redis.call('SADD', key, ARGV[2 * i - 1]), ARGV[2 * i]
  now[key] = now[key] and now[key] + added or redis.call('SCARD', key)
  if lives[key] ~= ttl then
    redis.call('PEXPIRE', key, ttl)
    lives[key] = ttl
  end
  sizes[i] = now[key]
end
return sizes
