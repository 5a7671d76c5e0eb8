-- Puts tasks back in line whose lease has run out, and delayed ones whose time has come.
-- ARGV  1 now_ms  2 queued  3 why  4 most of each kind
--       5 whether every lease ends now, whatever its deadline, and costs no attempt ('1')
-- Returns {{ids whose lease ended}, delayed tasks made ready, whether more are left ('1'/'0' as integer)}.
-- Cost  2 calls and 8 a lease, 3 a delayed task; bounded by ARGV[4].
-- Invariant: after it, the old holder's token is stale.
local queued, why, most, all = ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1'
local ended = redis.call('ZRANGEBYSCORE', P .. 'lease', '-inf', all and '+inf' or ARGV[1], 'LIMIT', 0, most)
local ids = {}
for i, member in ipairs(ended) do
  local colon = string.find(member, ':', 1, true)
  local token, id = string.sub(member, 1, colon - 1), string.sub(member, colon + 1)
  put_back(id, token, redis.call('HGET', task_key(id), 'state'), queued, why, not all, 0)
  ids[i] = id
end
local due = redis.call('ZRANGEBYSCORE', P .. 'delay', '-inf', ARGV[1], 'LIMIT', 0, most)
for _, id in ipairs(due) do
  redis.call('ZREM', P .. 'delay', id)
  make_ready(id)
end
return finish({ids, #due, (#ended == most or #due == most) and 1 or 0})
