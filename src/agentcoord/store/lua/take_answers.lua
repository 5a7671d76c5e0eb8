-- Forgets the oldest answers of a task, which have been told, and hands over the others.
-- ARGV  1 task  2 how many to forget
-- Returns {question as JSON, answer, ...}.
-- Cost  2 calls.
-- Invariant: an answer stays until somebody says that it is told, so that a crash loses none.
local key = P .. 'answers:' .. ARGV[1]
redis.call('LTRIM', key, 2 * tonumber(ARGV[2]), -1)
return finish(redis.call('LRANGE', key, 0, -1))
