-- Books everything that the workers finished, takes back claims that nobody wants any more, and hands
-- out tasks to everybody who waits for one: the one call of the moment.
-- ARGV  1 now_ms  2 lease_ms  3 how many heads of a route to compare  4 name of the dispatcher
--       5 number of this call  6 whether it may be a repetition ('1')
--       7 done  8 blocked  9 queued  10 running  11 csv of held states
--       12 the version of the routes that the covers below were made from
--       13 how many moves; then 5 each: id, token, expected held state, next held state, why
--       how many finished; then 4 each and its fields: id, token, expected state, how many words follow
--         that say what it landed, field and value in turn
--       how many given back; then 2 each: id, token
--       how many sets of tags; then 2 each: csv of tags, the routes that they cover, a line
--         feed before each
--       how many waiters; then 2 each: worker, number of its set of tags from 1
--       how many groups of events; then 2 each: how many events, their JSON as one list
--       epoch to begin if the log of events is new, about how many events to keep
-- Returns {{the state a moved task was in; '' when its token is stale; moved only from the expected one},
--       {1 a finished task; 2 when some that need it are left to `spread.lua`; 0 when its token is stale or
--       it is not in the expected state},
--       deadline of what is handed out, {8 each: index of the waiter from 0, id, token, attempt, queued_at,
--       needs, body, flat list of the task's fields or '' when it was never claimed before},
--       the version of the routes, {every route} or {} when the version was the right one,
--       epoch of the log or '', number of the first event}; or {}, and nothing was done: a repetition of
--       this call has run already, so nobody hears it.
-- Cost  constant calls for the batch, one read of the heads a covered route, and about 2 a finished, 2 a
--       handed-out task, 2 a released dependent; at most 1,000 of each kind, dependents included. Routes
--       that nobody here covers cost nothing, except in the first call after a route came up.
-- Invariant: what is handed out is leased to exactly one waiter, in this call or (repeated after a lost
--       answer) in the one that it repeats. A repeated `finished` is 1 again: done by that same token; so
--       is a repeated move that finds its next state. Events of a repeated call are stored once. Within an
--       epoch their numbers start at 1 and have no holes; an entry of the log holds one group of them, and
--       its id is the number of its last.
local now, lease_ms, look = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local number = ARGV[5]
-- Two calls may be under way at most, and both may have to be answered again.
local reply_key = P .. 'reply:' .. ARGV[4] .. ':' .. tonumber(number) % 2
local repeated = ARGV[6] == '1'
local epoch, version, memory = unpack(redis.call('MGET', P .. 'epoch', P .. 'routes:version', reply_key))
version, memory = version or '', memory or ''
local last_number = tonumber(string.match(memory, '^%d+') or '0')
-- A call that was given up may still be on its way, on the connection of before, when its repetition has
-- run already: then nobody hears this answer, and nothing may be handed out by it.
if not repeated and last_number >= tonumber(number) then return finish({}) end
local done, blocked, queued, running = ARGV[7], ARGV[8], ARGV[9], ARGV[10]
-- Whether any task that is not done declares what it writes.
local any_writes = redis.call('EXISTS', P .. 'writes') == 1

-- Releases what needs these tasks, as far as the call's bound allows: the rest is left to `spread.lua`,
-- and so is all of it while that has something to do, which must come first. Returns whose is left.
local function release_dependents(ids)
  local has, left, waiting, rest = in_chunks('SMISMEMBER', P .. 'hd', ids), 1000, nil, {}
  for i, id in ipairs(ids) do
    if has[i] == 1 then
      if waiting == nil then waiting = redis.call('EXISTS', P .. 'waves') == 1 end
      local more = true
      if not waiting and left > 0 then
        local released
        released, more = release_some(id, left, blocked, queued)
        left = left - released
      end
      if more then
        begin_wave('d', id)
        rest[id] = true
      end
    end
  end
  return rest
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
  return found, at
end

local function finish_tasks(at, count)
  local results, ids, members, at_of = {}, {}, {}, {}
  for i = 1, count do
    local id, token, expected, words = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
    local task = redis.call('HMGET', task_key(id), 'state', 'token', 'why')
    local state, mine = task[1], task[2] == token
    if mine and state == expected then
      ids[#ids + 1] = id
      at_of[id] = i
      members[#members + 1] = token .. ':' .. id
      move_state(id, expected, done, 'ended_at', ARGV[1], unpack(ARGV, at + 4, at + 3 + words))
      if task[3] and task[3] ~= '' then redis.call('HSET', task_key(id), 'why', '') end
    end
    results[i] = (mine and (state == expected or state == done)) and 1 or 0
    -- The answer that said 2 may be the one that was lost.
    if repeated and mine and state == done then results[i] = 1 + redis.call('EXISTS', P .. 'waves') end
    at = at + 4 + words
  end
  if #ids > 0 then
    in_chunks('ZREM', P .. 'lease', members)
    if any_writes then
      in_chunks('HDEL', P .. 'busy', ids)
      in_chunks('HDEL', P .. 'writes', ids)
    end
    for id in pairs(release_dependents(ids)) do results[at_of[id]] = 2 end
  end
  return results, at
end

local function take_back(at, count)
  local held = count > 0 and set_of(ARGV[11])
  for _ = 1, count do
    local id, token = ARGV[at], ARGV[at + 1]
    local state = held_state(id, token)
    if state and held[state] then put_back(id, token, state, queued, blocked, '', false, 0) end
    at = at + 2
  end
  return at
end

-- The routes that tags cover: the worker has all of the route's tags.
local function covered_routes(tags, routes)
  local has, covered = set_of(tags), {}
  for _, route in ipairs(routes) do
    local all = true
    for _, tag in ipairs(split(route, ',')) do all = all and has[tag] end
    if all then covered[#covered + 1] = route end
  end
  return covered
end

-- Every route. Empty ones are kept, because they may fill again, until they are many.
local EMPTY_ROUTES_KEPT = 32
local function all_routes()
  local routes, kept = redis.call('SMEMBERS', P .. 'routes'), {}
  for _, route in ipairs(routes) do
    if #routes <= EMPTY_ROUTES_KEPT or redis.call('EXISTS', P .. 'r:' .. route) == 1 then
      kept[#kept + 1] = route
    else
      redis.call('SREM', P .. 'routes', route)
    end
  end
  return kept
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

-- The heads of a route: tasks by score, read in steps as they are needed.
-- `first` is the first that is not handed out, `taken_behind` how many behind it are; `whole`: nothing is
-- left on the server behind the last.
local heads = {}

local function read_on(head, count)
  local from = #head.ids
  local raw = redis.call('ZRANGE', P .. 'r:' .. head.route, from, from + count - 1, 'WITHSCORES')
  local ids = {}
  for i = 1, #raw, 2 do
    ids[#ids + 1] = raw[i]
    head.ids[#head.ids + 1] = raw[i]
    head.scores[#head.ids] = tonumber(raw[i + 1])
  end
  head.whole = #ids < count
  if any_writes and #ids > 0 then
    for i, writes in ipairs(in_chunks('HMGET', P .. 'writes', ids)) do head.writes[from + i] = writes end
  end
end

local function head_of(route, share)
  local head = heads[route]
  if not head then
    head = {route = route, ids = {}, scores = {}, writes = {}, taken = {}, first = 1,
      taken_behind = 0}
    heads[route] = head
    read_on(head, share + (any_writes and look or 1))
  end
  return head
end

-- Makes sure that the n-th task that is not handed out is there, unless the line is shorter.
local function reach(head, n)
  local last = head.first + head.taken_behind + n - 1
  if not head.whole and last > #head.ids then read_on(head, look + n) end
end

-- The task with the lowest score; one whose writes nobody declares goes before all others.
local function choose(own_heads)
  local any, any_at, any_score, free, free_at, free_score
  for _, head in ipairs(own_heads) do
    local at = head.first
    if head.ids[at] then
      if not any or head.scores[at] < any_score then any, any_at, any_score = head, at, head.scores[at] end
      if any_writes then
        local seen = 0
        while seen < look and head.ids[at] and not (free and head.scores[at] >= free_score) do
          if not head.taken[at] then
            seen = seen + 1
            if not collides(head.writes[at]) then
              free, free_at, free_score = head, at, head.scores[at]
              break
            end
          end
          at = at + 1
        end
      end
    end
  end
  if free then return free, free_at end
  return any, any_at
end

local function take(head, at)
  head.taken[at] = true
  head.taken_behind = head.taken_behind + 1
  while head.taken[head.first] do
    head.first = head.first + 1
    head.taken_behind = head.taken_behind - 1
  end
end

local function hand_out(sets, at, count)
  local grants = {}
  for i = 1, count do
    local own = sets[tonumber(ARGV[at + 1])]
    if not own.heads then
      own.heads = {}
      for n, route in ipairs(own.routes) do own.heads[n] = head_of(route, math.ceil(count / #own.routes)) end
    end
    for _, head in ipairs(own.heads) do reach(head, any_writes and look or 1) end
    local head, place = choose(own.heads)
    if head then
      take(head, place)
      local writes = head.writes[place]
      if writes then mark_busy(writes) end
      grants[#grants + 1] = {index = i - 1, worker = ARGV[at], id = head.ids[place], head = head, writes = writes}
    end
    at = at + 2
  end
  return grants
end

local function lease(grants, deadline)
  local last = redis.call('INCRBY', P .. 'fence', #grants)
  local leases, busy, indexes = {}, {}, {}
  for i, grant in ipairs(grants) do
    local id, key = grant.id, task_key(grant.id)
    grant.token = string.format('%d', last - #grants + i)
    leases[2 * i - 1] = deadline
    leases[2 * i] = grant.token .. ':' .. id
    indexes[i] = grant.index
    local from_head = grant.head.handed_out or {}
    grant.head.handed_out = from_head
    from_head[#from_head + 1] = id
    if grant.writes then
      busy[#busy + 1] = id
      busy[#busy + 1] = grant.writes
    end
    local before = redis.call('HMGET', key, 'attempt', 'queued_at', 'needs', 'started_at')
    grant.queued_at, grant.needs = before[2], before[3] or ''
    if before[1] then
      grant.fields = redis.call('HGETALL', key)
      grant.attempt = tonumber(before[1]) + 1
      move_state(id, queued, running, 'token', grant.token, 'worker', grant.worker, 'attempt', grant.attempt,
        'why', '', 'started_at', before[4] or ARGV[1])
    else
      grant.fields, grant.attempt = '', 1
      move_state(id, queued, running, 'token', grant.token, 'worker', grant.worker, 'attempt', 1,
        'started_at', ARGV[1])
    end
  end
  in_chunks('ZADD', P .. 'lease', leases)
  in_chunks('HSET', P .. 'busy', busy)
  for _, head in pairs(heads) do
    if head.handed_out then in_chunks('ZREM', P .. 'r:' .. head.route, head.handed_out) end
  end
  return grants[1].token .. '|' .. table.concat(indexes, ',')
end

-- What the call that this one repeats handed out, and the number of its first event; nil when it was not
-- carried out, or did neither. A task whose lease has ended since is left out: it is in line again.
local function remembered(deadline)
  local its_number, first_event, first, indexes = string.match(memory, '^(%d+)|(%d*)|(%d*)|(.*)$')
  if its_number ~= number then return nil end
  local of_token, grants = {}, {}
  for _, member in ipairs(redis.call('ZRANGE', P .. 'lease', 0, -1)) do
    local token, id = string.match(member, '^(%d+):(.*)$')
    of_token[token] = id
  end
  for i, index in ipairs(split(indexes, ',')) do
    local token = string.format('%.0f', tonumber(first) + i - 1)
    local id = of_token[token]
    if id then
      redis.call('ZADD', P .. 'lease', 'XX', deadline, token .. ':' .. id)
      local fields = redis.call('HMGET', task_key(id), 'attempt', 'queued_at', 'needs')
      grants[#grants + 1] = {index = tonumber(index), id = id, token = token, attempt = tonumber(fields[1]),
        queued_at = fields[2], needs = fields[3] or '', fields = redis.call('HGETALL', task_key(id))}
    end
  end
  return grants, first_event
end

-- Enough to answer again if this answer is lost: the rest is read back. A month, because a call is repeated
-- whenever the server comes back.
local REMEMBERED_MS = 30 * 24 * 3600 * 1000
local function remember(first_event, handed_out)
  redis.call('SET', reply_key, number .. '|' .. first_event .. '|' .. handed_out, 'PX', REMEMBERED_MS)
end

local function append_events(at, groups)
  local total = 0
  for i = 1, groups do total = total + tonumber(ARGV[at + 2 * i - 2]) end
  local kept = tonumber(ARGV[at + 2 * groups + 1])
  local last = redis.call('INCRBY', P .. 'events:last', total)
  local number_of = last - total
  for i = 1, groups do
    number_of = number_of + tonumber(ARGV[at + 2 * i - 2])
    redis.call('XADD', P .. 'events', 'MINID', '~', string.format('%.0f', math.max(0, last - kept)),
      string.format('%.0f-0', number_of), 'e', ARGV[at + 2 * i - 1])
  end
  return string.format('%.0f', last - total + 1)
end

-- The parts of a text that each follow a separator; a part may be empty.
local function split_after(text, by)
  local parts = split(text, by)
  table.remove(parts, 1)
  return parts
end

-- The sets of tags of this call with the routes that each covers; made anew when a route came up since.
local function read_sets(at, version)
  local fresh = ARGV[12] == version
  local routes, sets = fresh and {} or all_routes(), {}
  local count = tonumber(ARGV[at])
  for i = 1, count do
    local tags, covers = ARGV[at + 2 * i - 1], ARGV[at + 2 * i]
    sets[i] = {routes = fresh and split_after(covers, '\n') or covered_routes(tags, routes)}
  end
  return sets, routes, at + 1 + 2 * count
end

local found, at = move_tasks(14, tonumber(ARGV[13]))
local results
results, at = finish_tasks(at + 1, tonumber(ARGV[at]))
at = take_back(at + 1, tonumber(ARGV[at]))

local deadline = string.format('%.0f', now + lease_ms)
if has_new_route then version = redis.call('GET', P .. 'routes:version') end
local sets, routes
sets, routes, at = read_sets(at, version)
local waiters = tonumber(ARGV[at])
local grants, handed_out
local first_event = ''
if repeated then grants, first_event = remembered(deadline) end
if not grants then
  grants, first_event, handed_out = {}, '', '|'
  if waiters > 0 and redis.call('HGET', P .. 'settings', 'paused') ~= '1' then
    if any_writes then
      for _, writes in ipairs(redis.call('HVALS', P .. 'busy')) do mark_busy(writes) end
    end
    grants = hand_out(sets, at + 1, waiters)
    if #grants > 0 then handed_out = lease(grants, deadline) end
  end
  local groups_at = at + 1 + waiters * 2
  local groups = tonumber(ARGV[groups_at])
  if groups > 0 then
    if not epoch then
      epoch = ARGV[groups_at + 1 + 2 * groups]
      redis.call('SET', P .. 'epoch', epoch)
    end
    first_event = append_events(groups_at + 1, groups)
  end
  if #grants > 0 or groups > 0 or repeated then remember(first_event, handed_out) end
end

local flat, body_keys = {}, {}
for i, grant in ipairs(grants) do body_keys[i] = P .. 'b:' .. grant.id end
if #grants > 0 then
  local bodies, n = redis.call('MGET', unpack(body_keys)), 0
  for i, g in ipairs(grants) do
    flat[n + 1], flat[n + 2], flat[n + 3], flat[n + 4] = g.index, g.id, g.token, g.attempt
    flat[n + 5], flat[n + 6], flat[n + 7], flat[n + 8] = g.queued_at, g.needs, bodies[i], g.fields
    n = n + 8
  end
end
return finish({found, results, deadline, flat, version, routes, epoch or '', first_event})
