-- What the user may not do of what the scripts do. A script that is stopped half way would lose what it had moved.
-- KEYS: a string, there for this moment: most commands are refused by its type, but only after a look at the rights.
-- Answer: commands.
local denied = {}
local key = KEYS[1]

local function try(command, ...)
  local answer = redis.pcall(command, ...)
  local failure = type(answer) == 'table' and answer.err
  -- As Redis 6.2 and 7.0 say it, and as 7.2 and Valkey do.
  if failure and (string.find(failure, "executing the script can't", 1, true) or string.find(failure, 'ACL failure')) then
    denied[#denied + 1] = command
  end
  return not failure
end

try('TIME')
if try('SET', key, '', 'PX', 1) then
  local commands = {
    {}, {'GET', 'MGET', 'EXISTS', 'SCARD', 'ZCARD', 'LLEN', 'LPOP', 'PERSIST'},
    {'HGET', 'HMGET', 'HDEL', 'HEXISTS', 'ZREM', 'ZSCORE', 'SADD', 'LINDEX', 'LPUSH', 'RPUSH', 'PEXPIRE'},
    {'LRANGE', 'HSET', 'ZADD', 'ZRANGE', 'ZRANGEBYSCORE', 'ZREMRANGEBYSCORE'},
  }
  local arguments = {'1', '1'}
  for words, each in ipairs(commands) do
    for _, command in ipairs(each) do
      try(command, key, unpack(arguments, 1, words - 2))
    end
  end
  try('PUBLISH', key, '')
  try('PEXPIREAT', key, '1')
  try('UNLINK', key)
  try('DEL', key)
end
return denied
