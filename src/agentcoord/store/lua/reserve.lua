-- Sets money aside for a call that is about to be made, unless that could pass a cap.
-- ARGV  1 mark of the memory  2 reservation  3 run  4 task  5 day  6 amount
--       7 run cap  8 task cap  9 day cap ('' for none)
-- Returns {} when reserved (also when it already was), {1 run / 2 task / 3 day, spent, reserved} when not,
--       or nil when the memory is gone.
-- Cost  3 to 9 calls.
-- Invariant: spent + reserved never passes a cap by this script; all three scopes or none. A server that
--       has forgotten what was spent sets nothing aside.
if has_forgotten(ARGV[1]) then return false end
if redis.call('HEXISTS', P .. 'reservations', ARGV[2]) == 1 then return finish({}) end
local amount = tonumber(ARGV[6])
local scopes = {P .. 'spend:run:' .. ARGV[3], P .. 'spend:task:' .. ARGV[4], P .. 'spend:day:' .. ARGV[5]}
for i, key in ipairs(scopes) do
  if ARGV[6 + i] ~= '' then
    local sums = redis.call('HMGET', key, 'spent', 'reserved')
    local spent, reserved = tonumber(sums[1] or '0'), tonumber(sums[2] or '0')
    if spent + reserved + amount > tonumber(ARGV[6 + i]) then return finish({i, spent, reserved}) end
  end
end
for _, key in ipairs(scopes) do redis.call('HINCRBY', key, 'reserved', ARGV[6]) end
redis.call('HSET', P .. 'reservations', ARGV[2], cjson.encode({ARGV[3], ARGV[4], ARGV[5], ARGV[6], '0'}))
return finish({})
