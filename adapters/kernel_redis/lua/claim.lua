-- Move up to `limit` ready messages under a lease; with a limit of 0 only look.
-- ARGV: limit, lease (ms), token, aging (ms). Answer: now, ready messages that are left, next time (-1: none), messages.
-- The receipt of the i-th message is the token and i - 1 as two bytes.

local base, limit, lease, token, aging = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local now = milliseconds()
refresh(base, now)

-- One look at all lists says how many are to be found: mostly none, or that of the usual priority.
local lists = {}
for priority = 0, 9 do
  lists[priority + 1] = base .. ':' .. priority
end
local levels = redis.call('EXISTS', unpack(lists))
local counts, ready, found = {}, 0, 0
for priority = 0, 9 do
  local count = found < levels and redis.call('LLEN', lists[priority + 1]) or 0
  counts[priority] = count
  ready = ready + count
  if count > 0 then
    found = found + 1
  end
end

-- A message is as urgent as if it had waited `aging` longer for each level of its priority: so the urgent go first, and
-- nobody waits for ever.
local function most_urgent()
  local best, best_at
  for priority = 9, 0, -1 do
    if counts[priority] > 0 then
      if levels == 1 then
        return priority
      end
      local first = redis.call('LINDEX', lists[priority + 1], 0)
      local at = ready_at(first) - priority * aging
      if not best or at < best_at then
        best, best_at = priority, at
      end
    end
  end
  return best
end

local taken = {}
while #taken < limit and ready > 0 do
  local priority = most_urgent()
  local messages = redis.call('LPOP', lists[priority + 1], limit - #taken)
  for _, message in ipairs(messages) do
    taken[#taken + 1] = message
  end
  ready = ready - #messages
  counts[priority] = counts[priority] - #messages
  if counts[priority] == 0 then
    levels = levels - 1
  end
end

if #taken > 0 then
  local held, leases = {}, {}
  for i, message in ipairs(taken) do
    local receipt = token .. struct.pack('>H', i - 1)
    held[2 * i - 1], held[2 * i] = receipt, message
    leases[2 * i - 1], leases[2 * i] = now + lease, receipt
  end
  redis.call('HSET', base .. ':held', unpack(held))
  redis.call('ZADD', base .. ':leases', unpack(leases))
end

local at = false
if #taken < limit or limit == 0 then
  at = next_at(base)
end
-- The token goes from receiver to receiver as long as there is work, and is taken away with the last message.
if #taken > 0 and (ready > 0 or (at and at <= now + SOON)) then
  wake(base)
elseif ready == 0 and limit > 0 then
  redis.call('DEL', base .. ':wake')
end
return {now, ready, at or -1, taken}
