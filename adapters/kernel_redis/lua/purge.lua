-- Drop what is not under lease. KEYS: base. Answer: how many.
local base, dropped = KEYS[1], 0
refresh(base, milliseconds())
for priority = 0, 9 do
  dropped = dropped + redis.call('LLEN', base .. ':' .. priority)
  redis.call('UNLINK', base .. ':' .. priority)
end
dropped = dropped + redis.call('ZCARD', base .. ':delayed')
redis.call('UNLINK', base .. ':delayed', base .. ':wake')
return dropped
