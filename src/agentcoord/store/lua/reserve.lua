-- Sets money and tokens aside for a call that is about to be made, unless that could pass a cap.
-- ARGV  1 mark of the memory  2 reservation  3 run  4 task  5 day  6 amount  7 tokens  8 worker ('' for nobody)
--       9 and 10 amount and tokens to book when the call was sent and nobody learns what became of it
--       11 run cap  12 task cap  13 day cap  14 to 16 the same in tokens ('' for none)
-- Returns {} when reserved (also when it already was), {which of ARGV 11 to 16, from 1, spent, reserved} when
--       not, or nil when the memory is gone.
-- Cost  3 to 15 calls.
-- Invariant: spent + reserved never passes a cap by this script; all three scopes or none, both units or none.
--       A server that has forgotten what was spent sets nothing aside.
if has_forgotten(ARGV[1]) then return false end
if redis.call('HEXISTS', P .. 'reservations', ARGV[2]) == 1 then return finish({}) end
local scopes = {P .. 'spend:run:' .. ARGV[3], P .. 'spend:task:' .. ARGV[4], P .. 'spend:day:' .. ARGV[5]}
local units = {{'spent', 'reserved', ARGV[6]}, {'tokens_spent', 'tokens_reserved', ARGV[7]}}
for u, unit in ipairs(units) do
  for s, key in ipairs(scopes) do
    local which = (u - 1) * #scopes + s
    local cap = ARGV[10 + which]
    if cap ~= '' then
      local sums = redis.call('HMGET', key, unit[1], unit[2])
      local spent, reserved = tonumber(sums[1] or '0'), tonumber(sums[2] or '0')
      if spent + reserved + tonumber(unit[3]) > tonumber(cap) then return finish({which, spent, reserved}) end
    end
  end
end
for _, key in ipairs(scopes) do
  for _, unit in ipairs(units) do redis.call('HINCRBY', key, unit[2], unit[3]) end
end
local record = {ARGV[3], ARGV[4], ARGV[5], ARGV[6], '0', ARGV[7], ARGV[8], ARGV[9], ARGV[10]}
redis.call('HSET', P .. 'reservations', ARGV[2], cjson.encode(record))
return finish({})
