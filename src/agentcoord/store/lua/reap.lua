-- Readies delayed tasks whose time has come, and names the leases that have run out.
-- ARGV  1 now_ms  2 most of each kind  3 whether to name every lease, whatever its deadline ('1')
-- Returns {flat list of "<token>:<id>", deadline; delayed tasks made ready; 1 when more may be left}.
-- Cost  2 calls and 3 a delayed task; bounded by ARGV[2].
-- Invariant: ends no lease: who is told of one decides what becomes of its task, and `set_back.lua` looks
--       again whether it has run out.
local most = tonumber(ARGV[2])
local lapsed = redis.call('ZRANGEBYSCORE', P .. 'lease', '-inf', ARGV[3] == '1' and '+inf' or ARGV[1],
  'WITHSCORES', 'LIMIT', 0, most)
local due = redis.call('ZRANGEBYSCORE', P .. 'delay', '-inf', ARGV[1], 'LIMIT', 0, most)
for _, id in ipairs(due) do
  redis.call('ZREM', P .. 'delay', id)
  make_ready(id)
end
return finish({lapsed, #due, (#lapsed == 2 * most or #due == most) and 1 or 0})
