-- Ends a task without a result (failed, cancelled), and fails all that needs it.
-- ARGV  1 id, '' to only go on with what an earlier call left over  2 token, '' whoever holds it
--       3 csv of states it may be in  4 next state  5 why  6 now_ms  7 blocked  8 failed
--       9 words before the need's id in a dependent's why  10 words after the id of the task ended here
--       11 words after the id of a need that itself failed by this  12 most dependents in this call
-- Returns {1 or 0 when the token is stale or the state is none of these, {failed dependents}, left over}.
-- Cost  8 calls and 4 a dependent; bounded by ARGV[12] (one task's list of dependents is finished).
-- Invariant: LIST `falling` holds every ended task whose dependents may still wait for it; it is
--       written with the end itself, so that a crash between two calls leaves nobody waiting forever.
local id, token, now, blocked, failed = ARGV[1], ARGV[2], ARGV[6], ARGV[7], ARGV[8]

if id ~= '' then
  local task = redis.call('HMGET', task_key(id), 'state', 'token', 'route')
  local state = task[1]
  if not state or not set_of(ARGV[3])[state] then return finish({0, {}, 0}) end
  if token ~= '' and not held_state(id, token) then return finish({0, {}, 0}) end
  if task[2] then drop_lease(id, task[2]) end
  redis.call('ZREM', P .. 'delay', id)
  redis.call('ZREM', P .. 'r:' .. task[3], id)
  move_state(id, state, ARGV[4], 'why', ARGV[5], 'ended_at', now)
  redis.call('RPUSH', P .. 'falling', id)
end

local fallen, most = {}, tonumber(ARGV[12])
while #fallen < most do
  local need = redis.call('LPOP', P .. 'falling')
  if not need then break end
  for _, dependent in ipairs(redis.call('LRANGE', P .. 'dep:' .. need, 0, -1)) do
    if redis.call('HGET', task_key(dependent), 'state') == blocked then
      local words = need == id and ARGV[10] or ARGV[11]
      move_state(dependent, blocked, failed, 'cause', need, 'why', ARGV[9] .. need .. words, 'ended_at', now)
      redis.call('RPUSH', P .. 'falling', dependent)
      fallen[#fallen + 1] = dependent
    end
  end
end
return finish({1, fallen, redis.call('LLEN', P .. 'falling')})
