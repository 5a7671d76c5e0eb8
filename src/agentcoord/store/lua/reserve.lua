-- Sets money aside for a call that is about to be made, unless that could pass a cap.
-- ARGV  1 reservation  2 run  3 task  4 day  5 amount  6 run cap  7 task cap  8 day cap ('' for none)
-- Returns {} when reserved (also when it already was), else {1 run / 2 task / 3 day, spent, reserved}.
-- Cost  2 to 8 calls.
-- Invariant: spent + reserved never passes a cap by this script; all three scopes or none.
if redis.call('HEXISTS', P .. 'reservations', ARGV[1]) == 1 then return finish({}) end
local amount = tonumber(ARGV[5])
local scopes = {P .. 'spend:run:' .. ARGV[2], P .. 'spend:task:' .. ARGV[3], P .. 'spend:day:' .. ARGV[4]}
for i, key in ipairs(scopes) do
  if ARGV[5 + i] ~= '' then
    local sums = redis.call('HMGET', key, 'spent', 'reserved')
    local spent, reserved = tonumber(sums[1] or '0'), tonumber(sums[2] or '0')
    if spent + reserved + amount > tonumber(ARGV[5 + i]) then return finish({i, spent, reserved}) end
  end
end
for _, key in ipairs(scopes) do redis.call('HINCRBY', key, 'reserved', ARGV[5]) end
redis.call('HSET', P .. 'reservations', ARGV[1], cjson.encode({ARGV[2], ARGV[3], ARGV[4], ARGV[5], '0'}))
return finish({})
