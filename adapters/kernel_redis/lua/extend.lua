-- Hide for `lease` from now. KEYS: base. ARGV: lease (ms), receipts. Answer: indexes (from 0) of the lost.
local base, ends = KEYS[1], milliseconds() + tonumber(ARGV[1])
local leases, lost = {}, {}
for i = 2, #ARGV do
  leases[2 * i - 3], leases[2 * i - 2] = ends, ARGV[i]
end
-- A server whose memory is full refuses ZADD, but not after a write that takes no memory. This one changes nothing: held
-- leases must go on, or their messages would run twice.
redis.call('PERSIST', base .. ':leases')
if redis.call('ZADD', base .. ':leases', 'XX', 'CH', unpack(leases)) < #ARGV - 1 then
  for i = 2, #ARGV do
    if not redis.call('ZSCORE', base .. ':leases', ARGV[i]) then
      lost[#lost + 1] = i - 2
    end
  end
end
if tonumber(ARGV[1]) <= SOON then
  wake(base)
end
return lost
