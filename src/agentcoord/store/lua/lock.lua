-- Takes the lock of one file, or says who has it.
-- ARGV  1 path  2 task  3 token  4 now_ms  5 may_take '1'/'0' (somebody else may be next in line)
-- Returns {code, holder}: 2 taken, 1 held already by this task, 0 held by another ('' by nobody, when
--       not allowed to take it), -1 the token is stale.
-- Cost  3 to 6 calls.
-- Invariant: one holder a path, and only while its lease lasts: the lock of a holder whose lease ended
--       is anybody's. HASH `locks`: path -> "<token>:<since_ms>:<task>"; SET `locks:<task>`: its paths.
local path, task, token = ARGV[1], ARGV[2], ARGV[3]
if not held_state(task, token) then return finish({-1, ''}) end
local mine = token .. ':' .. ARGV[4] .. ':' .. task
local current = redis.call('HGET', P .. 'locks', path)
if current then
  local its_token, since, holder = string.match(current, '^(%d+):(%d+):(.*)$')
  if holder == task then
    -- An older claim of the same task took it: it goes on under the new token.
    if its_token ~= token then redis.call('HSET', P .. 'locks', path, token .. ':' .. since .. ':' .. task) end
    return finish({1, task})
  end
  if redis.call('ZSCORE', P .. 'lease', its_token .. ':' .. holder) then return finish({0, holder}) end
  if ARGV[5] == '1' then redis.call('SREM', P .. 'locks:' .. holder, path) end
end
if ARGV[5] ~= '1' then return finish({0, ''}) end
redis.call('HSET', P .. 'locks', path, mine)
redis.call('SADD', P .. 'locks:' .. task, path)
return finish({2, task})
