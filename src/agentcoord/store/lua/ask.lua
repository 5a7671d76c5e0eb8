-- Stores a question to the person.
-- ARGV  1 task  2 the question as JSON
-- Returns its number.
-- Cost  3 calls.
local number = redis.call('INCR', P .. 'questions:last')
redis.call('HSET', P .. 'questions', number, ARGV[2])
redis.call('ZADD', P .. 'questions:open', number, number .. ':' .. ARGV[1])
return finish(number)
