-- End claims of their owners. KEYS: claims. ARGV: owners.
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[i] then
    redis.call('DEL', key)
  end
end
return {}
