-- The first time of a space, in seconds as text; false when it is empty. KEYS: base.
local due = redis.call('ZRANGE', KEYS[1] .. ':due', 0, 0, 'WITHSCORES')[2]
local ends = redis.call('ZRANGE', KEYS[1] .. ':taken', 0, 0, 'WITHSCORES')[2]
if ends and (not due or tonumber(ends) / 1000 < tonumber(due)) then
  return score(tonumber(ends) / 1000)
end
return due or false
