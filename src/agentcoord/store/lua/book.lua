-- Adds to what is counted of a task, stale token or not: it has happened either way.
-- ARGV  1 id  then field, amount, ...
-- Returns 1, or 0 when there is no such task.
-- Cost  1 call and one an amount.
-- Invariant: totals only grow.
if redis.call('EXISTS', task_key(ARGV[1])) == 0 then return finish(0) end
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] ~= '0' then redis.call('HINCRBY', task_key(ARGV[1]), ARGV[i], ARGV[i + 1]) end
end
return finish(1)
