-- Takes tasks out of the hands that hold them: back in line, aside for a person, or ended without a result.
-- ARGV  those of spreading.lua, 16 csv of states that are an end  17 most lines kept of a history
--       then 11 each: id, token ('' whoever holds it, if anybody), csv of states it may be in, next state,
--       setback, why, model, counts_attempt '1'/'0', due_ms (0 at once), '1' only if its lease has run out,
--       a further setback to count ('' none)
-- Returns {{1 or 0 when the token is stale, the state is none of these, or the lease lasts, ...},
--       what `spread()` returns}.
-- Cost  11 to 17 calls a task, at most 1,000, and that of `spread()`.
-- Invariant: what goes back keeps its score, and so its place in line. What ends begins a wave in the
--       same step, by which its dependents hear of it, in this call as far as its bound goes.
local ends, most = set_of(ARGV[16]), ARGV[17]

-- The state that the task may be taken from, and the token that holds it; nil when it may not.
local function taken_from(id, token, allowed, only_lapsed)
  local task = redis.call('HMGET', task_key(id), 'state', 'token')
  local state, newest = task[1], task[2] or ''
  if not state or not set_of(allowed)[state] then return nil end
  if token == '' then return state, newest end
  local deadline = redis.call('ZSCORE', P .. 'lease', token .. ':' .. id)
  if not deadline or (only_lapsed and tonumber(deadline) > tonumber(now)) then return nil end
  return state, token
end

local results = {}
for i = 18, #ARGV, 11 do
  local id, to, kind, why = ARGV[i], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  local state, token = taken_from(id, ARGV[i + 1], ARGV[i + 2], ARGV[i + 9] == '1')
  if state then
    note_setback(id, kind, now, why, to, ARGV[i + 6], most)
    if ARGV[i + 10] ~= '' then count_setback(id, ARGV[i + 10]) end
    if to == queued then
      put_back(id, token, state, queued, blocked, why, ARGV[i + 7] == '1', tonumber(ARGV[i + 8]),
        now)
    else
      drop_lease(id, token)
      if ARGV[i + 1] == '' then
        redis.call('ZREM', P .. 'delay', id)
        redis.call('ZREM', P .. 'r:' .. redis.call('HGET', task_key(id), 'route'), id)
      end
      move_state(id, state, to, 'why', why)
      if ends[to] then
        redis.call('HSET', task_key(id), 'ended_at', now)
        begin_wave('f', id)
      end
    end
  end
  results[#results + 1] = state and 1 or 0
end
return finish({results, spread()})
