-- Notes that the answer to a reserved call began to arrive: from now on it counts as billed.
-- ARGV  1 mark of the memory  2 reservation
-- Returns 1, 0 when there is no such reservation, or nil when the memory is gone.
-- Cost  3 calls.
if has_forgotten(ARGV[1]) then return false end
local raw = redis.call('HGET', P .. 'reservations', ARGV[2])
if not raw then return finish(0) end
local r = cjson.decode(raw)
r[5] = '1'
redis.call('HSET', P .. 'reservations', ARGV[2], cjson.encode(r))
return finish(1)
