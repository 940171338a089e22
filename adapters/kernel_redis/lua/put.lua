-- Write records that are not outranked, in order. KEYS: records. ARGV: time to live (ms), records.
-- A record begins with final (1 byte), generation, attempt and fence (4 bytes each). Of what is written is also
-- told (told.lua) on the channel named like its key. Answer: for each record that stands instead, its place (from 0) and its value.
local call, ttl, standing = redis.call, ARGV[1], {}

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
  local written = call('SET', key, record, 'NX', 'PX', ttl)
  if not written then
    local stands = call('GET', key)
    if outranked(record, stands) then
      standing[#standing + 1] = i - 1
      standing[#standing + 1] = stands
    else
      written = call('SET', key, record, 'PX', ttl)
    end
  end
  if written then
    call('PUBLISH', key, told(record))
  end
end
return standing
