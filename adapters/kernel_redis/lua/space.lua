-- The keys of one space of parked entries, below KEYS[1] = base:
--   :due     sorted set of keys by the time (seconds) from which they may be taken
--   :taken   sorted set of keys by the ms at which their lease ends
--   :parked  hash of key to time (8 bytes, a double) and payload
local function due_at(entry)
  return struct.unpack('>d', entry)
end

-- The score of a time, exact to the last bit.
local function score(at)
  return string.format('%.17g', at)
end
