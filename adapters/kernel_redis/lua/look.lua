-- Records as one is told of them; see told.lua. KEYS: records. Answer: for each its value, its notice, or false.
local records, left = redis.call('MGET', unpack(KEYS)), 1048576 -- bytes that are told together
for i, record in ipairs(records) do
  if record then
    local notice = told(record)
    if #notice > left then
      notice = short(record)
    end
    left = left - #notice
    records[i] = notice
  end
end
return records
