-- Put in front of every script of this folder; never run alone.
--
-- KEYS[1]  the project's prefix, `agentcoord:{<project>}:`. Every key that a script touches is this
--          prefix and a suffix, so all of them lie in one cluster slot. The suffixes stand in
--          docs/decisions/0002-queue-layout.md.
-- No state is spelled here: scripts are handed the states that they expect and set.
-- Every script ends with `return finish(reply)`, which writes what `move_state` counted.
local P = KEYS[1]
local tally = {}

-- Redis limits how many values unpack() may push; longer lists go in several calls of this many.
local CHUNK = 2000

local function split(text, by)
  local parts, from = {}, 1
  if text == '' then return parts end
  while true do
    local at = string.find(text, by, from, true)
    if not at then
      parts[#parts + 1] = string.sub(text, from)
      return parts
    end
    parts[#parts + 1] = string.sub(text, from, at - 1)
    from = at + #by
  end
end

local function set_of(csv)
  local set = {}
  for _, word in ipairs(split(csv, ',')) do set[word] = true end
  return set
end

-- One command on one key with any number of values; the replies joined (only for replies that are lists).
local function in_chunks(command, key, values)
  if #values <= CHUNK then return #values > 0 and redis.call(command, key, unpack(values)) or {} end
  local joined = {}
  for from = 1, #values, CHUNK do
    local reply = redis.call(command, key, unpack(values, from, math.min(from + CHUNK - 1, #values)))
    if type(reply) == 'table' then
      for _, item in ipairs(reply) do joined[#joined + 1] = item end
    end
  end
  return joined
end

local function task_key(id) return P .. 't:' .. id end

-- Sets state and further fields of a task, and remembers the change of the counts by state.
local function move_state(id, from, to, ...)
  redis.call('HSET', task_key(id), 'state', to, ...)
  if from ~= '' then tally[from] = (tally[from] or 0) - 1 end
  tally[to] = (tally[to] or 0) + 1
end

local function finish(reply)
  for state, change in pairs(tally) do
    if change ~= 0 then redis.call('HINCRBY', P .. 'count', state, change) end
  end
  return reply
end

-- Whether this call has added a route.
local has_new_route = false

-- Puts a task at its place in line: the one it had before, since its score never changes by being claimed.
local function make_ready(id)
  local place = redis.call('HMGET', task_key(id), 'route', 'score')
  redis.call('ZADD', P .. 'r:' .. place[1], place[2], id)
  if redis.call('SADD', P .. 'routes', place[1]) == 1 then
    has_new_route = true
    -- A digest of all that were added, not a counter: that would come to the same number again, with
    -- other routes, after the keys were removed or lost, and who keeps the routes of that number would
    -- never look at these.
    local before = redis.call('GET', P .. 'routes:version') or ''
    redis.call('SET', P .. 'routes:version', redis.sha1hex(before .. ';' .. place[1]))
  end
end

-- The state of a task if `token` is its newest claim and that claim is still leased, else nil.
local function held_state(id, token)
  if not redis.call('ZSCORE', P .. 'lease', token .. ':' .. id) then return nil end
  return redis.call('HGET', task_key(id), 'state')
end

local function drop_lease(id, token)
  redis.call('ZREM', P .. 'lease', token .. ':' .. id)
  redis.call('HDEL', P .. 'busy', id)
end

-- Takes a held task from its holder and puts it back in line. `due_ms` > 0: not before that time.
-- A need that was rejected, or is tried again, since the task was handed out must be done before.
local function put_back(id, token, from, queued, blocked, why, counts_attempt, due_ms)
  drop_lease(id, token)
  local waits = tonumber(redis.call('HGET', task_key(id), 'open') or '0') > 0
  move_state(id, from, waits and blocked or queued, 'why', why)
  if not counts_attempt then redis.call('HINCRBY', task_key(id), 'attempt', -1) end
  if waits then return end
  if due_ms > 0 then
    redis.call('ZADD', P .. 'delay', due_ms, id)
    redis.call('HSET', task_key(id), 'due', string.format('%.0f', due_ms))
  else
    make_ready(id)
  end
end

-- Whether the server has lost this project's memory: then it knows of no money that was spent.
local function has_forgotten(mark) return (redis.call('GET', P .. 'memory') or '') ~= mark end
-- Counts what went against a task. Its hash has these fields only when something did: `back` (how many
-- in all), `n:<kind>` since a person last brought it back, `o:<kind>` before that.
local function count_setback(id, kind)
  redis.call('HINCRBY', task_key(id), 'back', 1)
  redis.call('HINCRBY', task_key(id), 'n:' .. kind, 1)
end

-- Counts a setback, and writes it down in LIST `h:<id>`: [at_ms, kind, why, to, attempt, worker, token, model].
local function note_setback(id, kind, at, why, to, model, most)
  local task = redis.call('HMGET', task_key(id), 'attempt', 'worker', 'token')
  count_setback(id, kind)
  redis.call('HSET', task_key(id), 'setback', kind)
  redis.call('RPUSH', P .. 'h:' .. id, cjson.encode(
    {at, kind, why, to, task[1] or '0', task[2] or '', task[3] or '', model}))
  redis.call('LTRIM', P .. 'h:' .. id, -tonumber(most), -1)
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

-- Begins a task anew that had ended or was parked. Its counts of setbacks become those of before.
local function bring_back(id, from, queued, blocked)
  local key = task_key(id)
  redis.call('HDEL', key, 'cause', 'ended_at', 'setback', 'due')
  if redis.call('HEXISTS', key, 'back') == 1 then
    local fields = redis.call('HGETALL', key)
    for i = 1, #fields, 2 do
      if string.sub(fields[i], 1, 2) == 'n:' then
        redis.call('HINCRBY', key, 'o:' .. string.sub(fields[i], 3), fields[i + 1])
        redis.call('HDEL', key, fields[i])
      end
    end
  end
  local open = tonumber(redis.call('HGET', key, 'open') or '0')
  move_state(id, from, open > 0 and blocked or queued, 'attempt', 0, 'why', '')
  if open == 0 then make_ready(id) end
end

-- Reservations: a HASH `reservations` of id -> JSON [run, task, day, amount, started, tokens, worker, sent
-- amount, sent tokens]; the last two, or four, are missing in what an earlier version reserved.
local function negated(number)
  return number == '0' and '0' or '-' .. number  -- The server takes '-0' for no number.
end

local function spend_keys(r)
  return {P .. 'spend:run:' .. r[1], P .. 'spend:task:' .. r[2], P .. 'spend:day:' .. r[3]}
end

local function drop_reservation(id)
  local raw = redis.call('HGET', P .. 'reservations', id)
  if not raw then return nil end
  local r = cjson.decode(raw)
  redis.call('HDEL', P .. 'reservations', id)
  for _, key in ipairs(spend_keys(r)) do
    redis.call('HINCRBY', key, 'reserved', negated(tostring(r[4])))
    redis.call('HINCRBY', key, 'tokens_reserved', negated(tostring(r[6] or '0')))
  end
  return r
end

-- Turns a reservation into what was spent: `amount`, and `used` tokens of which `tokens` tells the kinds, a
-- flat list of kind, count. Returns what was spent since ever by its run, its task and its day, then the
-- tokens of the same three; nothing when there is no such reservation.
local function book_reservation(id, amount, used, model, tokens)
  local r = drop_reservation(id)
  if not r then return {} end
  local spent = {}
  for _, key in ipairs(spend_keys(r)) do spent[#spent + 1] = redis.call('HINCRBY', key, 'spent', amount) end
  for _, key in ipairs(spend_keys(r)) do spent[#spent + 1] = redis.call('HINCRBY', key, 'tokens_spent', used) end
  local run = P .. 'spend:run:' .. r[1]
  local parts = {'task|' .. r[2], 'model|' .. model}
  if (r[7] or '') ~= '' then parts[3] = 'worker|' .. r[7] end
  for _, part in ipairs(parts) do redis.call('HINCRBY', run, part .. '|spent', amount) end
  for i = 1, #tokens, 2 do
    if tokens[i + 1] ~= '0' then
      redis.call('HINCRBY', run, tokens[i], tokens[i + 1])
      for _, part in ipairs(parts) do redis.call('HINCRBY', run, part .. '|' .. tokens[i], tokens[i + 1]) end
    end
  end
  return spent
end
