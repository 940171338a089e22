-- The keys of one queue, all below KEYS[n] = base:
--   :0 ... :9   lists of ready messages by priority, the next one at the left
--   :delayed    sorted set of nonce .. message by the millisecond at which it is due
--   :leases     sorted set of receipts by the millisecond at which the lease ends
--   :held       hash of receipt to message, for what is under lease
--   :wake       sorted set of at most one token, for which idle receivers wait; a set, so that adding it twice is once
--   :dedup:<k>  a key of a message that was stored, until its window is over
-- A message is in exactly one of lists, delayed and held, because each script moves it in one step.

local NONCE = 12    -- bytes before a delayed message, so that equal messages stay two
local STEP = 1000   -- most messages moved by one call
local SOON = 1000   -- milliseconds: what is due within these must be told to a waiting receiver

local function wake(base)
  redis.call('ZADD', base .. ':wake', 0, '1')
end

-- Bytes that somebody else wrote into these keys are handed out too: kernel puts them to the dead letters. So nothing
-- here may fail on them.
local HEADER = 19

local function level(message)
  local priority = string.byte(message)
  return priority and priority <= 9 and priority or 0
end

local function ready_at(message)
  if #message < HEADER then
    return 0
  end
  return struct.unpack('>I4', message, 4) * 4294967296 + struct.unpack('>I4', message, 8)
end

local function counted(message)
  if #message < HEADER then
    return message
  end
  local deliveries = math.min(65535, struct.unpack('>H', message, 2) + 1)
  return string.sub(message, 1, 1) .. struct.pack('>H', deliveries) .. string.sub(message, 4)
end

-- Store one message; false when its key was stored before.
local function store(base, now, priority, due, key, window, nonce, message)
  if key ~= '' and not redis.call('SET', base .. ':dedup:' .. key, '', 'NX', 'PX', window) then
    return false
  end
  if due > now then
    redis.call('ZADD', base .. ':delayed', due, nonce .. message)
  else
    redis.call('RPUSH', base .. ':' .. priority, message)
  end
  if due <= now + SOON then
    wake(base)
  end
  return true
end

-- Make ready what is due, and what was lost with its lease: that goes to the front, counted.
local function refresh(base, now)
  local due = redis.call('ZRANGEBYSCORE', base .. ':delayed', '-inf', now, 'LIMIT', 0, STEP)
  if #due > 0 then
    redis.call('ZREM', base .. ':delayed', unpack(due))
    for _, member in ipairs(due) do
      local message = string.sub(member, NONCE + 1)
      redis.call('RPUSH', base .. ':' .. level(message), message)
    end
  end
  local lost = redis.call('ZRANGEBYSCORE', base .. ':leases', '-inf', now, 'LIMIT', 0, STEP)
  if #lost > 0 then
    local messages = redis.call('HMGET', base .. ':held', unpack(lost))
    redis.call('ZREM', base .. ':leases', unpack(lost))
    redis.call('HDEL', base .. ':held', unpack(lost))
    for i = #lost, 1, -1 do
      if messages[i] then
        redis.call('LPUSH', base .. ':' .. level(messages[i]), counted(messages[i]))
      end
    end
  end
end

-- The millisecond of the next message that becomes ready by itself; false when there is none.
local function next_at(base)
  local due = redis.call('ZRANGE', base .. ':delayed', 0, 0, 'WITHSCORES')
  local ends = redis.call('ZRANGE', base .. ':leases', 0, 0, 'WITHSCORES')
  local first = due[2] and tonumber(due[2])
  local second = ends[2] and tonumber(ends[2])
  if first and second then
    return math.min(first, second)
  end
  return first or second or false
end
