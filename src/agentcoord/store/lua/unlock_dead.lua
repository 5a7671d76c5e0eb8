-- Releases the file locks whose holder's lease has ended.
-- ARGV  none
-- Returns how many.
-- Cost  1 call and 1 a lock, 2 more a dead one; linear in all locks held.
local all, count = redis.call('HGETALL', P .. 'locks'), 0
for i = 1, #all, 2 do
  local token, _, holder = string.match(all[i + 1], '^(%d+):(%d+):(.*)$')
  if not redis.call('ZSCORE', P .. 'lease', token .. ':' .. holder) then
    redis.call('HDEL', P .. 'locks', all[i])
    redis.call('SREM', P .. 'locks:' .. holder, all[i])
    count = count + 1
  end
end
return finish(count)
