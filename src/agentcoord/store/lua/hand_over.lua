-- Adds one task that needs nothing, and hands it to a worker that waits, at once: what `load` and `dispatch`
-- would do one after the other. Or does nothing, when one of them might do anything else.
-- ARGV  1 now_ms
--       2 one a line: deadline in ms of what is handed out, name of the dispatcher, number of this call,
--         running, the version of the routes that the worker's are made from, id, bonus_ms of its priority,
--         route (one of that version), the worker's name, which of the call's waiters it is, from 0
--       3 body  4 the routes that anybody who waits in this call covers, a line feed before each
--       Or nothing: it looks where it would look, so that in the next moment neither it nor that is cold.
-- Returns {rank, token}; {} when nothing was done.
-- Cost  9 calls, whatever waits.
-- Invariant: nobody who waits in this call could have had another task, and none declares what it writes. The
--       memory is that of a dispatch: a call whose answer is lost is repeated by `dispatch`, which hands out
--       the same; whether the task was added, nobody is told then.
if #ARGV == 0 then
  redis.call('MGET', P .. 'seq', P .. 'fence', P .. 'routes:version')
  redis.call('EXISTS', P .. 'writes')
  redis.call('HGET', P .. 'settings', 'paused')
  return finish({})
end
local line = '([^\n]*)\n'
local deadline, name, number, running, known, id, bonus_ms, route, worker, which =
  string.match(ARGV[2], string.rep(line, 10))
local key, lines_and_writes = task_key(id), {P .. 'writes'}
for covered in string.gmatch(ARGV[4], '\n([^\n]*)') do
  lines_and_writes[#lines_and_writes + 1] = P .. 'r:' .. covered
end
local reply_key = P .. 'reply:' .. name .. ':' .. tonumber(number) % 2
local seq, fence, version, memory =
  unpack(redis.call('MGET', P .. 'seq', P .. 'fence', P .. 'routes:version', reply_key))
if version ~= known
  -- Its repetition has run already, and nobody hears this answer.
  or tonumber(string.match(memory or '', '^%d+') or '0') >= tonumber(number)
  or redis.call('EXISTS', key, unpack(lines_and_writes)) > 0
  or redis.call('HGET', P .. 'settings', 'paused') == '1' then
  return finish({})
end
local rank = string.format('%d', math.max(tonumber(ARGV[1]), tonumber(seq or '0') + 1))
local token = string.format('%d', tonumber(fence or '0') + 1)
redis.call('MSET', P .. 'seq', rank, P .. 'fence', token, P .. 'b:' .. id, ARGV[1] .. ' \n' .. ARGV[3])
redis.call('ZADD', P .. 'order', rank, id)
redis.call('ZADD', P .. 'lease', deadline, token .. ':' .. id)
move_state(id, '', running, 'route', route, 'score', string.format('%d', rank - bonus_ms), 'queued_at', ARGV[1],
  'token', token, 'worker', worker, 'attempt', '1', 'started_at', ARGV[1])
-- part: reply
remember(reply_key, number, '', token, which)
return finish({rank, token})
