-- What subscribers are told of a record: all of it, or when it is long only a byte, 2 + its first, and they read it
-- themselves. A server cuts off a subscriber to whom it has too much to tell (client-output-buffer-limit pubsub).
local LONGEST = 65536 -- bytes

local function short(record)
  return string.char(2 + string.byte(record))
end

local function told(record)
  return #record <= LONGEST and record or short(record)
end

