-- Brings a task back that a person wants tried again, and the dependents that failed only because of it.
-- ARGV  1 id  2 csv of states it may be in  3 queued  4 blocked  5 failed
--       6 csv of states of a need that never become done by themselves
--       7, 8 words around the id of a need that keeps a dependent failed  9 most dependents
-- Returns {1, {dependents brought back}}, or {0, {}} when its state is none of these or a need of its
--       own has ended without a result.
-- Cost  8 calls and up to 5 and one a need a dependent; bounded by ARGV[9].
-- Invariant: `open` counts the needs that are not done in every state, so it is right as it stands.
local id, queued, blocked, failed, dead = ARGV[1], ARGV[3], ARGV[4], ARGV[5], set_of(ARGV[6])

local function dead_need(of)
  for _, need in ipairs(split(redis.call('HGET', task_key(of), 'needs') or '', ',')) do
    if dead[redis.call('HGET', task_key(need), 'state')] then return need end
  end
  return nil
end

local function bring_back(task, from)
  redis.call('HDEL', task_key(task), 'cause', 'ended_at')
  local open = tonumber(redis.call('HGET', task_key(task), 'open') or '0')
  move_state(task, from, open > 0 and blocked or queued, 'attempt', 0, 'why', '')
  if open == 0 then make_ready(task) end
end

local state = redis.call('HGET', task_key(id), 'state')
if not state or not set_of(ARGV[2])[state] or dead_need(id) then return finish({0, {}}) end
redis.call('LREM', P .. 'falling', 0, id)
bring_back(id, state)

local back, frontier, most = {}, {id}, tonumber(ARGV[9])
local at = 1
while frontier[at] and #back < most do
  for _, dependent in ipairs(redis.call('LRANGE', P .. 'dep:' .. frontier[at], 0, -1)) do
    local task = redis.call('HMGET', task_key(dependent), 'state', 'cause')
    if task[1] == failed and task[2] then
      local other = dead_need(dependent)
      if other then
        redis.call('HSET', task_key(dependent), 'cause', other, 'why', ARGV[7] .. other .. ARGV[8])
      else
        bring_back(dependent, failed)
        back[#back + 1] = dependent
        frontier[#frontier + 1] = dependent
      end
    end
  end
  at = at + 1
end
return finish({1, back})
