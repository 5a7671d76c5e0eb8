-- Adds one task that needs nothing, and hands it to a worker that waits, at once: what `load` and `dispatch`
-- would do one after the other. Or does nothing, when one of them might do anything else.
-- ARGV  1 now_ms
--       2 one a line: deadline in ms of what is handed out, the key where this call is answered (without
--         prefix and "reply:"), its number, running, the version of the routes that the worker's are made from,
--         id, bonus_ms of its priority, route (one of that version), the worker's name, which of the call's
--         waiters it is, from 0
--       3 body  4 the routes that anybody who waits in this call covers, a line feed before each
--       Or nothing: it looks where it would look, so that in the next moment neither it nor that is cold.
-- Returns {rank, token}; {} when nothing was done.
-- Cost  8 calls, whatever waits. It has neither the prelude nor parts: to define what stands in these took a
--       fifth of its time. So the key and the fields of a task, and what is remembered of a call, are written
--       here once more, as move_state and remember() write them.
-- Invariant: nobody who waits in this call could have had another task, and none declares what it writes. The
--       pause is not looked at: who pauses changes the version, and nobody is told the new one. The memory is
--       that of a dispatch: a call whose answer is lost is repeated by `dispatch`, which hands out
--       the same; whether the task was added, nobody is told then.
local P = KEYS[1]
if #ARGV == 0 then
  redis.call('MGET', P .. 'seq', P .. 'fence', P .. 'routes:version')
  redis.call('EXISTS', P .. 'writes')
  return {}
end
local line = '([^\n]*)\n'
local deadline, reply, number, running, known, id, bonus_ms, route, worker, which =
  string.match(ARGV[2], string.rep(line, 10))
local key, reply_key, lines_and_writes = P .. 't:' .. id, P .. 'reply:' .. reply, {P .. 'writes'}
for covered in string.gmatch(ARGV[4], '\n([^\n]*)') do
  lines_and_writes[#lines_and_writes + 1] = P .. 'r:' .. covered
end
local seq, fence, version, memory =
  unpack(redis.call('MGET', P .. 'seq', P .. 'fence', P .. 'routes:version', reply_key))
if version ~= known
  -- Its repetition has run already, and nobody hears this answer.
  or memory and tonumber(string.match(memory, '^%d+')) >= tonumber(number)
  or redis.call('EXISTS', key, unpack(lines_and_writes)) > 0 then
  return {}
end
local rank = string.format('%d', math.max(tonumber(ARGV[1]), tonumber(seq or '0') + 1))
local token = string.format('%d', tonumber(fence or '0') + 1)
redis.call('MSET', P .. 'seq', rank, P .. 'fence', token, P .. 'b:' .. id, ARGV[1] .. ' \n' .. ARGV[3])
redis.call('ZADD', P .. 'order', rank, id)
redis.call('ZADD', P .. 'lease', deadline, token .. ':' .. id)
redis.call('HSET', key, 'state', running, 'route', route, 'score', string.format('%d', rank - bonus_ms),
  'queued_at', ARGV[1], 'token', token, 'worker', worker, 'attempt', '1', 'started_at', ARGV[1])
redis.call('HINCRBY', P .. 'count', running, 1)
redis.call('SET', reply_key, number .. '||' .. token .. '|' .. which, 'PX', '2592000000')
return {rank, token}
