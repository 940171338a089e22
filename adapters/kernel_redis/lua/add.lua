-- Store entries; one with the same key replaces the old one and its lease. KEYS: base. ARGV: key and entry of each.
local base = KEYS[1]
for i = 1, #ARGV, 2 do
  -- First what a full memory refuses: after another write it would not be refused any more.
  redis.call('HSET', base .. ':parked', ARGV[i], ARGV[i + 1])
  redis.call('ZREM', base .. ':taken', ARGV[i])
  redis.call('ZADD', base .. ':due', score(due_at(ARGV[i + 1])), ARGV[i])
end
return {}
