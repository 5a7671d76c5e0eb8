-- Answers the oldest open question of a task.
-- ARGV  1 task  2 answer
-- Returns 1, or 0 when it has none open.
-- Cost  4 calls, linear in all open questions.
-- Invariant: an answered question leaves the open ones in the step that stores its answer.
for _, member in ipairs(redis.call('ZRANGE', P .. 'questions:open', 0, -1)) do
  local number, task = string.match(member, '^(%d+):(.*)$')
  if task == ARGV[1] then
    local asked = redis.call('HGET', P .. 'questions', number)
    redis.call('RPUSH', P .. 'answers:' .. task, asked, ARGV[2])
    redis.call('HDEL', P .. 'questions', number)
    redis.call('ZREM', P .. 'questions:open', member)
    return finish(1)
  end
end
return finish(0)
