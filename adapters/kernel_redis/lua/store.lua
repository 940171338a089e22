-- Store messages of one queue, each with a time, a key or both, in order. KEYS: base.
-- ARGV: window of keys (ms), then for each message priority, due (ms), key, nonce, message.
local now = milliseconds()
for i = 2, #ARGV, 5 do
  store(KEYS[1], now, ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[1], ARGV[i + 3], ARGV[i + 4])
end
