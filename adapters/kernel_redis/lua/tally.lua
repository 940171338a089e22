-- Add a member to each set. KEYS: sets. ARGV: member and time to live (ms) of each. Answer: the sizes.
local sizes = {}
for i, key in ipairs(KEYS) do
  redis.call('SADD', key, ARGV[2 * i - 1])
  redis.call('PEXPIRE', key, ARGV[2 * i])
  sizes[i] = redis.call('SCARD', key)
end
return sizes
