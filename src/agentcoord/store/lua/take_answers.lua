-- Hands over the answers that came for a task since the last time.
-- ARGV  1 task
-- Returns {question as JSON, answer, ...}.
-- Cost  2 calls.
local answers = redis.call('LRANGE', P .. 'answers:' .. ARGV[1], 0, -1)
redis.call('DEL', P .. 'answers:' .. ARGV[1])
return finish(answers)
