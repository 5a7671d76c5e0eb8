-- Takes the locks of one or more files, all or none, or says who has them.
-- ARGV  1 task  2 token  3 now_ms  4 may_take '1'/'0' (somebody else may be next in line)  then 1 each: path
-- Returns {code, {path, holder, ...}}: 2 taken (some may have been held already by this task), 1 all held
--       already by this task, 0 none taken: the paths that others hold, or none when all are free and
--       taking was not allowed; -1 the token is stale.
-- Cost  4 to 6 calls, 1 more a lock taken from a dead holder; at most 1,000 paths.
-- Invariant: one holder a path, and only while its lease lasts: the lock of a holder whose lease ended
--       is anybody's. HASH `locks`: path -> "<token>:<since_ms>:<task>"; SET `locks:<task>`: its paths.
local task, token = ARGV[1], ARGV[2]
if not held_state(task, token) then return finish({-1, {}}) end
local paths = {unpack(ARGV, 5)}
local current = redis.call('HMGET', P .. 'locks', unpack(paths))

local renewed, wanted, theirs, members = {}, {}, {}, {}
for i, path in ipairs(paths) do
  local its_token, since, holder = string.match(current[i] or '', '^(%d+):(%d+):(.*)$')
  if holder == task then
    -- An older claim of the same task took it: it goes on under the new token.
    if its_token ~= token then
      renewed[#renewed + 1] = path
      renewed[#renewed + 1] = token .. ':' .. since .. ':' .. task
    end
  else
    wanted[#wanted + 1] = path
    if holder then
      theirs[#theirs + 1] = {path = path, holder = holder}
      members[#members + 1] = its_token .. ':' .. holder
    end
  end
end
in_chunks('HSET', P .. 'locks', renewed)
if #wanted == 0 then return finish({1, {}}) end

local alive = #members > 0 and redis.call('ZMSCORE', P .. 'lease', unpack(members)) or {}
local held, of_the_dead = {}, {}
for i, other in ipairs(theirs) do
  if alive[i] then
    held[#held + 1] = other.path
    held[#held + 1] = other.holder
  else
    of_the_dead[#of_the_dead + 1] = other
  end
end
if #held > 0 or ARGV[4] ~= '1' then return finish({0, held}) end

for _, other in ipairs(of_the_dead) do redis.call('SREM', P .. 'locks:' .. other.holder, other.path) end
local taken = {}
for _, path in ipairs(wanted) do
  taken[#taken + 1] = path
  taken[#taken + 1] = token .. ':' .. ARGV[3] .. ':' .. task
end
in_chunks('HSET', P .. 'locks', taken)
in_chunks('SADD', P .. 'locks:' .. task, wanted)
return finish({2, {}})
