-- Notes that the answer to a reserved call began to arrive: from now on it counts as billed.
-- ARGV  1 reservation
-- Returns 1, or 0 when there is no such reservation.
-- Cost  2 calls.
local raw = redis.call('HGET', P .. 'reservations', ARGV[1])
if not raw then return finish(0) end
local r = cjson.decode(raw)
r[5] = '1'
redis.call('HSET', P .. 'reservations', ARGV[1], cjson.encode(r))
return finish(1)
