-- Puts a done task back in line, or behind its needs, that a person rejected. What needs it waits for it again.
-- ARGV  those of spreading.lua, 16 id  17 the state it must be in  18 setback to note  19 why
--       20 most lines kept of a history  21 how many tasks there are  22 its declared writes
--       then one each: who needs it directly
-- Returns {1, ''}; {0, the state it is in, '' when there is no such task}; {2, ''} when a wave is still to
--       be told or another number of tasks is there, and nothing changed: look again; {3, the need of its
--       own that has ended without a result, which forbids it}.
-- Cost  21 calls, one a need, 2 a kind of setback, and 3 to 7 a dependent: at most 5,000 of those.
-- Invariant: its history, cost and place in line stay. `open` is right in every state again: a dependent
--       that is done or held counts it too, keeps its state, and waits for it only if it comes back itself.
local id, key = ARGV[16], task_key(ARGV[16])
local task = redis.call('HMGET', key, 'state', 'onfail', 'open')
local state = task[1]
if state ~= ARGV[17] then return finish({0, state or ''}) end
if redis.call('EXISTS', P .. 'waves') == 1 or redis.call('ZCARD', P .. 'order') ~= tonumber(ARGV[21]) then
  return finish({2, ''})
end
if task[2] ~= run then
  local need = dead_need(id, dead)
  if need then return finish({3, need}) end
end
for i = 23, #ARGV do
  local dependent = ARGV[i]
  redis.call('RPUSH', P .. 'dep:' .. id, dependent)
  redis.call('HINCRBY', task_key(dependent), 'open', 1)
  local other = redis.call('HMGET', task_key(dependent), 'state', 'route')
  if other[1] == queued then block_again(dependent, other[2]) end
end
if #ARGV > 22 then redis.call('SADD', P .. 'hd', id) end
note_setback(id, ARGV[18], now, ARGV[19], tonumber(task[3] or '0') > 0 and blocked or queued, '', ARGV[20])
redis.call('HDEL', key, 'review', 'files', 'lines_added', 'lines_removed')
if ARGV[22] ~= '' then redis.call('HSET', P .. 'writes', id, ARGV[22]) end
bring_back(id, state, queued, blocked)
return finish({1, ''})
