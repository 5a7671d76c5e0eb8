-- Readies delayed tasks whose time has come, and names the leases that have run out.
-- ARGV  1 now_ms  2 most of each kind  3 whether to name every lease, whatever its deadline ('1')
--       4 lease_ms
-- Returns {flat list of "<token>:<id>", deadline; delayed tasks made ready; 1 when more may be left}.
-- Cost  5 calls and 3 a delayed task that is due; 1 each of up to ARGV[2] more when the clock was set back.
-- Invariant: ends no lease: who is told of one decides what becomes of its task, and `set_back.lua` looks
--       again whether it has run out. A clock that was set back leaves nothing waiting for the old time: no
--       lease lasts longer than one that is given now, and no task waits that was told to later than now.
local SET_BACK_MS = 1000  -- Clocks are corrected by less than this all the time.
local now, latest = tonumber(ARGV[1]), tonumber(ARGV[1]) + tonumber(ARGV[4])
local most = tonumber(ARGV[2])
local lapsed = redis.call('ZRANGEBYSCORE', P .. 'lease', '-inf', ARGV[3] == '1' and '+inf' or ARGV[1],
  'WITHSCORES', 'LIMIT', 0, most)
local too_late = {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', P .. 'lease', string.format('(%.0f', latest), '+inf',
  'LIMIT', 0, most)) do
  too_late[#too_late + 1] = string.format('%.0f', latest)
  too_late[#too_late + 1] = member
end
in_chunks('ZADD', P .. 'lease', too_late)
local due = redis.call('ZRANGEBYSCORE', P .. 'delay', '-inf', ARGV[1], 'LIMIT', 0, most)

-- STRING `delay:told`: the latest time at which a task was told to wait, or later. Only if that is to come are
-- there any that wait for a time that the clock has been set back from; else looking at each would be for nothing.
local told = tonumber(redis.call('GET', P .. 'delay:told'))
if not told or told > now + SET_BACK_MS then
  -- From the far end: that is where a clock that was ahead has put them.
  local waiting = redis.call('ZRANGE', P .. 'delay', '+inf', '(' .. ARGV[1], 'BYSCORE', 'REV', 'LIMIT', 0, most)
  for _, id in ipairs(waiting) do
    local since = redis.call('HGET', task_key(id), 'delayed_at')
    if since and tonumber(since) > now + SET_BACK_MS then
      due[#due + 1] = id
      redis.call('HDEL', task_key(id), 'due')
    end
  end
  if #waiting < most and (told or #waiting > 0) then
    redis.call('SET', P .. 'delay:told', string.format('%d', now + SET_BACK_MS))
  end
end
for _, id in ipairs(due) do
  redis.call('ZREM', P .. 'delay', id)
  make_ready(id)
end
return finish({lapsed, #due, (#lapsed == 2 * most or #due == most) and 1 or 0})
