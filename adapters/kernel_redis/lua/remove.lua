-- Delete entries that are still as given. KEYS: base. ARGV: key and time (as in the entry) of each.
local base = KEYS[1]
for i = 1, #ARGV, 2 do
  local entry = redis.call('HGET', base .. ':parked', ARGV[i])
  if entry and string.sub(entry, 1, 8) == ARGV[i + 1] then
    redis.call('HDEL', base .. ':parked', ARGV[i])
    redis.call('ZREM', base .. ':due', ARGV[i])
    redis.call('ZREM', base .. ':taken', ARGV[i])
  end
end
return {}
