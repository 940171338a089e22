-- Write records that are not outranked, in order. KEYS: records. ARGV: time to live (ms, 0: for ever), records.
-- A record begins with final (1 byte), generation, attempt and fence (4 bytes each). What is written is also published
-- on the channel named like its key. Answer: for each record that stands instead, its place (from 0) and its value.
local ttl, standing = tonumber(ARGV[1]), {}

local function write(key, record, ...)
  if ttl > 0 then
    return redis.call('SET', key, record, 'PX', ttl, ...)
  end
  return redis.call('SET', key, record, ...)
end

-- The two rules of `kernel.ports.results.outranked`.
local function outranked(record, stands)
  local final, generation, attempt, fence = struct.unpack('>BI4I4I4', stands)
  local _, new_generation, new_attempt, new_fence = struct.unpack('>BI4I4I4', record)
  if final == 1 then
    return new_generation <= generation
  end
  if new_generation ~= generation then
    return new_generation < generation
  end
  if new_attempt ~= attempt then
    return new_attempt < attempt
  end
  return new_fence < fence
end

for i, key in ipairs(KEYS) do
  local record = ARGV[i + 1]
  local written = write(key, record, 'NX')
  if not written then
    local stands = redis.call('GET', key)
    if outranked(record, stands) then
      standing[#standing + 1] = i - 1
      standing[#standing + 1] = stands
    else
      written = write(key, record)
    end
  end
  if written then
    redis.call('PUBLISH', key, record)
  end
end
return standing
