-- Put after the prelude of every script that takes tasks into line or out of it: places, leases, what a
-- claim need not look up, and what a need's end means to those who need it.
-- Whether this call has added a route.
local has_new_route = false

local function put_in_line(id, route, score)
  redis.call('ZADD', P .. 'r:' .. route, score, id)
  if redis.call('SADD', P .. 'routes', route) == 1 then
    has_new_route = true
    -- A digest of all that were added, not a counter: that would come to the same number again, with
    -- other routes, after the keys were removed or lost, and who keeps the routes of that number would
    -- never look at these.
    local before = redis.call('GET', P .. 'routes:version') or ''
    redis.call('SET', P .. 'routes:version', redis.sha1hex(before .. ';' .. route))
  end
end

-- Puts a task at its place in line: the one it had before, since its score never changes by being claimed.
local function make_ready(id)
  local place = redis.call('HMGET', task_key(id), 'route', 'score')
  put_in_line(id, place[1], place[2])
end

-- What stands before a body, as long as no claim has to look into the task's hash:
-- "<queued_at> <csv of needs>" and a line feed. A body itself never begins with a digit.
local function says_all(stored)
  local first = string.byte(stored)
  return first and first >= 48 and first <= 57
end

local function bare(stored)
  return says_all(stored) and string.sub(stored, string.find(stored, '\n', 1, true) + 1) or stored
end

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
-- A need that was rejected, or is tried again, since the task was handed out must be done before.
local function put_back(id, token, from, queued, blocked, why, counts_attempt, due_ms, now)
  drop_lease(id, token)
  look_into(id)
  local waits = tonumber(redis.call('HGET', task_key(id), 'open') or '0') > 0
  move_state(id, from, waits and blocked or queued, 'why', why)
  if not counts_attempt then redis.call('HINCRBY', task_key(id), 'attempt', -1) end
  if waits then return end
  if due_ms > 0 then
    redis.call('ZADD', P .. 'delay', due_ms, id)
    redis.call('HSET', task_key(id), 'due', string.format('%.0f', due_ms), 'delayed_at', now)
  else
    make_ready(id)
  end
end

-- LIST `waves`: ended or brought back tasks whose dependents are still to be told, "<what>:<from>:<to>:<id>":
-- positions `from` to before `to` of `dep:<id>`. Written with the change itself, so that a crash between
-- two calls leaves nobody waiting for ever. `what` is d (done), f (ended without a result) or r (brought
-- back). What dependents load later is not told: loading looks at the states as they are by then.
local function wave_of(what, id)
  if redis.call('SISMEMBER', P .. 'hd', id) == 0 then return nil end
  return what .. ':0:' .. redis.call('LLEN', P .. 'dep:' .. id) .. ':' .. id
end

local function begin_wave(what, id)
  local wave = wave_of(what, id)
  if wave then redis.call('RPUSH', P .. 'waves', wave) end
end

-- Releases at most `most` dependents of a done task. Returns how many, and whether some are left.
local function release_some(need, most, blocked, queued)
  local some = redis.call('LPOP', P .. 'dep:' .. need, most) or {}
  for _, dependent in ipairs(some) do
    -- Counted whatever its state: one that failed by another need may be brought back later.
    local open = redis.call('HINCRBY', task_key(dependent), 'open', -1)
    if open == 0 and redis.call('HGET', task_key(dependent), 'state') == blocked then
      move_state(dependent, blocked, queued)
      make_ready(dependent)
    end
  end
  if #some == most and redis.call('EXISTS', P .. 'dep:' .. need) == 1 then return #some, true end
  redis.call('SREM', P .. 'hd', need)
  return #some, false
end

-- The first need of a task that has ended without a result, or nil; and how many were looked at.
local function dead_need(of, dead)
  local looked = 0
  for _, need in ipairs(split(redis.call('HGET', task_key(of), 'needs') or '', ',')) do
    looked = looked + 1
    if dead[redis.call('HGET', task_key(need), 'state')] then return need, looked end
  end
  return nil, looked
end
