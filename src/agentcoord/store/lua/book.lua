-- Adds to what is counted of a task, stale token or not: it has happened either way.
-- ARGV  1 id  2 csv of states that are an end  then field, amount, ...
-- Returns 1, or 0 when there is no such task.
-- Cost  1 call and one an amount; one more for a task that has ended.
-- Invariant: totals only grow.
local state = redis.call('HGET', task_key(ARGV[1]), 'state')
if not state then return finish(0) end
for i = 3, #ARGV, 2 do
  if ARGV[i + 1] ~= '0' then redis.call('HINCRBY', task_key(ARGV[1]), ARGV[i], ARGV[i + 1]) end
end
if set_of(ARGV[2])[state] then redis.call('INCR', P .. 'revised') end
return finish(1)
