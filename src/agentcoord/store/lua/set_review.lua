-- Stores what a person said about a task's result.
-- ARGV  1 id  2 state it must be in  3 review
-- Returns the state it is in; '' when there is no such task. Stored only if that is the expected one.
-- Cost  3 calls.
local state = redis.call('HGET', task_key(ARGV[1]), 'state')
if state == ARGV[2] then
  redis.call('HSET', task_key(ARGV[1]), 'review', ARGV[3])
  redis.call('INCR', P .. 'revised')
end
return finish(state or '')
