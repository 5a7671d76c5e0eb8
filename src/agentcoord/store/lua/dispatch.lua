-- Books everything that the workers finished, takes back claims that nobody wants any more, and hands
-- out tasks to everybody who waits for one: the one call of the moment.
-- ARGV  1 now_ms  2 lease_ms  3 how many heads of a route to compare  4 name of the dispatcher
--       5 number of this call  6 whether it may be a repetition ('1')
--       7 done  8 blocked  9 queued  10 running  11 csv of held states
--       12 how many moves; then 5 each: id, token, expected held state, next held state, why
--       how many finished; then 6 each: id, token, expected state, JSON of its files, lines added, removed
--       how many given back; then 2 each: id, token
--       how many waiters; then 2 each: worker, csv of its tags
-- Returns {{the state a moved task was in; '' when its token is stale; moved only from the expected one},
--       {1 or 0 a finished task: 0 when its token is stale or it is not in the expected state}, {grant, ...}},
--       grant {index of the waiter from 0, id, token, deadline_ms, attempt, body, flat list of the task's fields}.
-- Cost  constant calls for the batch, one read of the heads a covered route, and about 4 a finished, 2 a
--       handed-out task, 2 a released dependent; at most 1,000 of each kind.
-- Invariant: what is handed out is leased to exactly one waiter, in this call or (repeated after a lost
--       answer) in the one that it repeats. A repeated `finished` is 1 again: done by that same token; so
--       is a repeated move that finds its next state.
local now, lease_ms, look = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local reply_key, number = P .. 'reply:' .. ARGV[4], ARGV[5]
local repeated = ARGV[6] == '1'
local done, blocked, queued, running = ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local held = set_of(ARGV[11])

local function release_dependents(ids)
  local has = in_chunks('SMISMEMBER', P .. 'hd', ids)
  for i, id in ipairs(ids) do
    if has[i] == 1 then
      for _, dependent in ipairs(redis.call('LRANGE', P .. 'dep:' .. id, 0, -1)) do
        -- Counted whatever its state: one that failed by another need may be brought back later.
        local open = redis.call('HINCRBY', task_key(dependent), 'open', -1)
        if open == 0 and redis.call('HGET', task_key(dependent), 'state') == blocked then
          move_state(dependent, blocked, queued)
          make_ready(dependent)
        end
      end
      redis.call('DEL', P .. 'dep:' .. id)
      redis.call('SREM', P .. 'hd', id)
    end
  end
end

local function move_tasks(at, count)
  local found = {}
  for i = 1, count do
    local id, expected, to = ARGV[at], ARGV[at + 2], ARGV[at + 3]
    local state = held_state(id, ARGV[at + 1]) or ''
    if state == expected then
      move_state(id, state, to, 'why', ARGV[at + 4])
    elseif repeated and state == to then
      state = expected
    end
    found[i] = state
    at = at + 5
  end
  return found
end

local function finish_tasks(at, count)
  local results, ids, members = {}, {}, {}
  for i = 1, count do
    local id, token, expected = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local task = redis.call('HMGET', task_key(id), 'state', 'token')
    local mine = task[2] == token
    if mine and task[1] == expected then
      ids[#ids + 1] = id
      members[#members + 1] = token .. ':' .. id
      move_state(id, expected, done, 'why', '', 'ended_at', ARGV[1], 'files', ARGV[at + 3],
        'lines_added', ARGV[at + 4], 'lines_removed', ARGV[at + 5])
    end
    results[i] = (mine and (task[1] == expected or task[1] == done)) and 1 or 0
    at = at + 6
  end
  if #ids > 0 then
    in_chunks('ZREM', P .. 'lease', members)
    in_chunks('HDEL', P .. 'busy', ids)
    in_chunks('HDEL', P .. 'writes', ids)
    release_dependents(ids)
  end
  return results
end

local function take_back(at, count)
  for _ = 1, count do
    local id, token = ARGV[at], ARGV[at + 1]
    local state = held_state(id, token)
    if state and held[state] then put_back(id, token, state, queued, '', false, 0) end
    at = at + 2
  end
end

-- Whether the worker with these tags may serve each route: it has all of the route's tags.
local function covered_routes(tags, routes)
  local has, covered = set_of(tags), {}
  for _, route in ipairs(routes) do
    local all = true
    for _, tag in ipairs(split(route, ',')) do all = all and has[tag] end
    if all then covered[#covered + 1] = route end
  end
  return covered
end

-- Declared writes, one a line: '=path' is one file, '^prefix' any path that begins so.
local busy_paths, busy_prefixes, anyone_busy = {}, {}, false

local function mark_busy(writes)
  for _, line in ipairs(split(writes, '\n')) do
    anyone_busy = true
    local rest = string.sub(line, 2)
    if string.sub(line, 1, 1) == '=' then busy_paths[rest] = true else busy_prefixes[rest] = true end
  end
end

local function begins(text, prefix) return string.sub(text, 1, #prefix) == prefix end

local function collides(writes)
  if not writes or not anyone_busy then return false end
  for _, line in ipairs(split(writes, '\n')) do
    local rest, is_path = string.sub(line, 2), string.sub(line, 1, 1) == '='
    if is_path and busy_paths[rest] then return true end
    if not is_path then
      for path in pairs(busy_paths) do if begins(path, rest) then return true end end
    end
    for prefix in pairs(busy_prefixes) do
      if begins(rest, prefix) or (not is_path and begins(prefix, rest)) then return true end
    end
  end
  return false
end

-- Reads the heads of the routes that somebody here covers: enough for all of them and to compare.
local function read_heads(cover_of, waiters)
  local wanted, heads, ids = {}, {}, {}
  for _, waiter in ipairs(waiters) do
    for _, route in ipairs(cover_of[waiter.tags]) do wanted[route] = (wanted[route] or 0) + 1 end
  end
  for route, count in pairs(wanted) do
    local raw = redis.call('ZRANGE', P .. 'r:' .. route, 0, count + look - 1, 'WITHSCORES')
    if #raw == 0 then redis.call('SREM', P .. 'routes', route) end
    local list = {}
    for i = 1, #raw, 2 do
      list[#list + 1] = {id = raw[i], score = tonumber(raw[i + 1]), route = route}
      ids[#ids + 1] = raw[i]
    end
    heads[route] = {list = list, from = 1}
  end
  if #ids > 0 then
    local writes = in_chunks('HMGET', P .. 'writes', ids)
    local of = {}
    for at, id in ipairs(ids) do of[id] = writes[at] end
    for _, head in pairs(heads) do
      for _, task in ipairs(head.list) do task.writes = of[task.id] end
    end
  end
  return heads
end

-- The task with the lowest score among the heads; one whose writes nobody declares goes before all others.
local function choose(routes, heads)
  local free, any
  for _, route in ipairs(routes) do
    local head = heads[route]
    while head.list[head.from] and head.list[head.from].taken do head.from = head.from + 1 end
    local seen, i = 0, head.from
    while seen < look and head.list[i] do
      local task = head.list[i]
      if not task.taken then
        seen = seen + 1
        if not any or task.score < any.score then any = task end
        if free and task.score >= free.score then break end
        if not collides(task.writes) then
          free = task
          break
        end
      end
      i = i + 1
    end
  end
  return free or any
end

local function hand_out(at, count)
  local grants = {}
  if count == 0 or redis.call('HGET', P .. 'settings', 'paused') == '1' then return grants end
  local routes = redis.call('SMEMBERS', P .. 'routes')
  if #routes == 0 then return grants end
  local waiters, cover_of = {}, {}
  for i = 1, count do
    local tags = ARGV[at + 1]
    waiters[i] = {name = ARGV[at], tags = tags}
    cover_of[tags] = cover_of[tags] or covered_routes(tags, routes)
    at = at + 2
  end
  local heads = read_heads(cover_of, waiters)
  for _, writes in ipairs(redis.call('HVALS', P .. 'busy')) do mark_busy(writes) end
  for i, waiter in ipairs(waiters) do
    local task = choose(cover_of[waiter.tags], heads)
    if task then
      task.taken = true
      if task.writes then mark_busy(task.writes) end
      grants[#grants + 1] = {index = i - 1, worker = waiter.name, task = task}
    end
  end
  return grants
end

local function lease(grants)
  local last = redis.call('INCRBY', P .. 'fence', #grants)
  local deadline = string.format('%.0f', now + lease_ms)
  local leases, from_route, busy = {}, {}, {}
  for i, grant in ipairs(grants) do
    local task = grant.task
    grant.id, grant.token = task.id, string.format('%.0f', last - #grants + i)
    grant.deadline = deadline
    leases[#leases + 1] = deadline
    leases[#leases + 1] = grant.token .. ':' .. task.id
    from_route[task.route] = from_route[task.route] or {}
    table.insert(from_route[task.route], task.id)
    if task.writes then
      busy[#busy + 1] = task.id
      busy[#busy + 1] = task.writes
    end
    grant.fields = redis.call('HGETALL', task_key(task.id))
    grant.attempt = 1
    for f = 1, #grant.fields, 2 do
      if grant.fields[f] == 'attempt' then grant.attempt = tonumber(grant.fields[f + 1]) + 1 end
      if grant.fields[f] == 'started_at' then grant.started_at = grant.fields[f + 1] end
    end
    move_state(task.id, queued, running, 'token', grant.token, 'worker', grant.worker,
      'attempt', grant.attempt, 'why', '', 'started_at', grant.started_at or ARGV[1])
  end
  in_chunks('ZADD', P .. 'lease', leases)
  in_chunks('HSET', P .. 'busy', busy)
  for route, ids in pairs(from_route) do in_chunks('ZREM', P .. 'r:' .. route, ids) end
  -- Enough to answer again if this answer is lost; the rest is read back.
  local memory = {}
  for i, grant in ipairs(grants) do memory[i] = {grant.index, grant.id, grant.token, deadline, grant.attempt} end
  redis.call('SET', reply_key, cjson.encode({number, memory}), 'PX', 3600000)
end

local function remembered()
  local raw = redis.call('GET', reply_key)
  if not raw then return nil end
  local memory = cjson.decode(raw)
  if memory[1] ~= number then return nil end
  local grants = {}
  for i, g in ipairs(memory[2]) do
    grants[i] = {index = g[1], id = g[2], token = g[3], deadline = g[4], attempt = g[5],
      fields = redis.call('HGETALL', task_key(g[2]))}
  end
  return grants
end

local at = 13
local moves = tonumber(ARGV[12])
local found = move_tasks(at, moves)
at = at + moves * 5
local finished = tonumber(ARGV[at])
local results = finish_tasks(at + 1, finished)
at = at + 1 + finished * 6
local returned = tonumber(ARGV[at])
take_back(at + 1, returned)
at = at + 1 + returned * 2

local grants = repeated and remembered() or nil
if not grants then
  grants = hand_out(at + 1, tonumber(ARGV[at]))
  if #grants > 0 then lease(grants) end
end

local replies, body_keys = {}, {}
for i, grant in ipairs(grants) do body_keys[i] = P .. 'b:' .. grant.id end
if #grants > 0 then
  local bodies = redis.call('MGET', unpack(body_keys))
  for i, g in ipairs(grants) do replies[i] = {g.index, g.id, g.token, g.deadline, g.attempt, bodies[i], g.fields} end
end
return finish({found, results, replies})
