-- Writes tasks as they are to be, into a server that has lost them.
-- ARGV  1 most fields a task may have (a bound)  then each task: id, rank, body, encoded writes, state,
--       ready '1'/'0', csv of needs that are not done, how many lines of history, how many fields,
--       then the lines of the history, then 2 each: field, value
-- Returns how many.
-- Cost  4 to 8 calls a task and 2 a need; at most 1,000 tasks a call.
-- Invariant: none of the tasks is there before: whoever calls has removed the rest of the old memory.
local at, count = 2, 0
while ARGV[at] do
  local id, state, lines, fields = ARGV[at], ARGV[at + 4], tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
  if not fields or fields > tonumber(ARGV[1]) then return redis.error_reply('ERR a task with a wrong number of fields') end
  redis.call('SET', P .. 'b:' .. id, bare(ARGV[at + 2]))
  redis.call('ZADD', P .. 'order', ARGV[at + 1], id)
  if ARGV[at + 3] ~= '' then redis.call('HSET', P .. 'writes', id, ARGV[at + 3]) end
  if lines > 0 then redis.call('RPUSH', P .. 'h:' .. id, unpack(ARGV, at + 9, at + 8 + lines)) end
  redis.call('HSET', task_key(id), unpack(ARGV, at + 9 + lines, at + 8 + lines + 2 * fields))
  move_state(id, '', state)
  if ARGV[at + 5] == '1' then make_ready(id) end
  for _, need in ipairs(split(ARGV[at + 6], ',')) do
    redis.call('RPUSH', P .. 'dep:' .. need, id)
    redis.call('SADD', P .. 'hd', need)
  end
  count = count + 1
  at = at + 9 + lines + 2 * fields
end
return finish(count)
