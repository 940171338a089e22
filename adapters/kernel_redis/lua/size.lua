-- How full a queue is. KEYS: base. Answer: ready, delayed, in flight, time (ms) of the oldest ready message (-1: none).
local base, ready, oldest = KEYS[1], 0, -1
refresh(base, milliseconds())
for priority = 0, 9 do
  local list = base .. ':' .. priority
  local first = redis.call('LINDEX', list, 0)
  if first then
    ready = ready + redis.call('LLEN', list)
    local at = ready_at(first)
    if oldest < 0 or at < oldest then
      oldest = at
    end
  end
end
return {ready, redis.call('ZCARD', base .. ':delayed'), redis.call('ZCARD', base .. ':leases'), oldest}
