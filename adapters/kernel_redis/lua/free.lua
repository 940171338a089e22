-- Give slots back. KEYS: semaphores. ARGV: owners.
for i, key in ipairs(KEYS) do
  redis.call('ZREM', key, ARGV[i])
end
return {}
