-- Put where a script looks after tasks that are held: leases, and the way back into line.
-- From now on a claim looks into the task's hash: it says more than the body does.
local function look_into(id)
  local body = redis.call('GET', P .. 'b:' .. id)
  if body and says_all(body) then redis.call('SET', P .. 'b:' .. id, bare(body)) end
end

-- The state of a task if `token` is its newest claim and that claim is still leased, else nil.
local function held_state(id, token)
  if not redis.call('ZSCORE', P .. 'lease', token .. ':' .. id) then return nil end
  return redis.call('HGET', task_key(id), 'state')
end

local function drop_lease(id, token)
  redis.call('ZREM', P .. 'lease', token .. ':' .. id)
  redis.call('HDEL', P .. 'busy', id)
  redis.call('HDEL', P .. 'held', id)
end

-- Takes a held task from its holder and puts it back in line. `due_ms` > 0: not before that time, as was
-- said at `now`.
-- A need that was rejected, or is tried again, since the task was handed out must be done before; one that has
-- ended without a result meanwhile could not tell it so, and a wave of its own looks for that.
local function put_back(id, token, from, queued, blocked, why, counts_attempt, due_ms, now)
  drop_lease(id, token)
  look_into(id)
  local waits = tonumber(redis.call('HGET', task_key(id), 'open') or '0') > 0
  move_state(id, from, waits and blocked or queued, 'why', why)
  if not counts_attempt then redis.call('HINCRBY', task_key(id), 'attempt', -1) end
  if waits then
    redis.call('RPUSH', P .. 'waves', 'w:0:1:' .. id)
    return
  end
  if due_ms > 0 then
    redis.call('ZADD', P .. 'delay', due_ms, id)
    if tonumber(now) > tonumber(redis.call('GET', P .. 'delay:told') or '0') then
      redis.call('SET', P .. 'delay:told', now)
    end
    redis.call('HSET', task_key(id), 'due', string.format('%.0f', due_ms), 'delayed_at', now)
  else
    make_ready(id)
  end
end
