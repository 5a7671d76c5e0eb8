-- Books everything that the workers finished, takes back claims that nobody wants any more, and hands
-- out tasks to everybody who waits for one: the one call of the moment.
-- ARGV  1 now_ms
--       2 one a line: deadline in ms of what is handed out, how many heads of a route to compare, how far
--         behind one may be that goes before a task whose writes are declared, name of the dispatcher,
--         number of this call, whether it may be a repetition ('1'), done, blocked, queued, running, csv of
--         held states, the version of the routes that the covers below were made from
--       3 how many moves; then 5 each: id, token, expected held state, next held state, why
--       the finished, a line each: "<expected state> <how many words> <token>:<id>"; then the words of all of
--         them that say what they landed, field and value in turn
--       the given back, a line each: "<token>:<id>"
--       how many sets of tags; then 2 each: csv of tags, the routes that they cover, a line
--         feed before each
--       the waiters, a line each: "<which, from 0> <number of its set of tags from 1> <worker>"
--       how many groups of events; then 2 each: how many events, their JSON as one list
--       with events: the epoch to begin if their log is new, about how many to keep, the epoch and the
--         number of the newest one that the caller was told of
--       Lines are ended by line feeds. An argument costs as much as four words of a line.
-- Returns {words, {body of each handed out, with what stands before it; nil when it is not handed out after all}};
--       and, unless all of it is empty, also
--       {3 each of those that a claim has to look up: which one, from 1, its attempt, flat list of its
--       fields before or after this call},
--       {the state a moved task was in; '' when its token is stale; moved only from the expected one},
--       {every route} or {} when the version was the right one;
--       or {}, and nothing was done: a repetition of this call has run already, so nobody hears it.
--       The words, with '|' between: a digit for each finished task (1; 2 when some that need it are left to
--       `spread.lua`; 0 when its token is stale or it is not in the expected state; one 2 more when some were
--       given back and something is left to `spread.lua`), deadline of what is handed out, token of the
--       first (the others follow one by one), csv of the waiters that it goes to, the version of the routes
--       ('' while paused), epoch of the log or '', number of the first event.
-- Cost  constant calls for the batch, one read of the heads a covered route, and about 1 a finished, 1 a
--       handed-out task, 2 a released dependent; at most 1,000 of each kind, dependents included. Routes
--       that nobody here covers cost nothing, except in the first call after a route came up. Where a task
--       that might be handed out declares what it writes, also linear in the locks held.
-- Invariant: what is handed out is leased to exactly one waiter, in this call or (repeated after a lost
--       answer) in the one that it repeats. A repeated `finished` is 1 again: done by that same token; so
--       is a repeated move that finds its next state. Events of a repeated call are stored once. Within an
--       epoch their numbers start at 1 and have no holes but of those that a fail-over lost; an entry of the
--       log holds one group of them, and its id is the number of its last.
local line = '([^\n]*)\n'
local deadline, look, passed_over, name, number, repeated, done, blocked, queued, running, held, covers_version =
  string.match(ARGV[2], string.rep(line, 12))
local now = tonumber(ARGV[1])
look, passed_over, repeated = tonumber(look), tonumber(passed_over), repeated == '1'
-- Two calls may be under way at most, and both may have to be answered again.
local reply_key = P .. 'reply:' .. name .. ':' .. tonumber(number) % 2
local epoch, version, memory = unpack(redis.call('MGET', P .. 'epoch', P .. 'routes:version', reply_key))
version, memory = version or '', memory or ''
local last_number = tonumber(string.match(memory, '^%d+') or '0')
-- A call that was given up may still be on its way, on the connection of before, when its repetition has
-- run already: then nobody hears this answer, and nothing may be handed out by it.
if not repeated and last_number >= tonumber(number) then return finish({}) end
-- Whether any task that is not done declares what it writes.
local any_writes = redis.call('EXISTS', P .. 'writes') == 1

-- From here on in the order in which it happens. What a call does not do it does not define either: a function
-- costs 1,100 instructions each time, as much as an argument. `part:` puts another file there.

local found, at = {}, 4
if ARGV[3] ~= '0' then
  -- part: held
  -- HASH `held`: the state of each held task that is in another than the one it was handed out in.
  local function move_tasks(at, count)
    local found = {}
    for i = 1, count do
      local id, expected, to = ARGV[at], ARGV[at + 2], ARGV[at + 3]
      local state = held_state(id, ARGV[at + 1]) or ''
      if state == expected then
        move_state(id, state, to, 'why', ARGV[at + 4])
        redis.call('HSET', P .. 'held', id, to)
      elseif repeated and state == to then
        state = expected
      end
      found[i] = state
      at = at + 5
    end
    return found, at
  end
  found, at = move_tasks(at, tonumber(ARGV[3]))
end

local results = {}
if ARGV[at] ~= '' then
  -- Releases what needs these tasks, as far as the call's bound allows: the rest is left to `spread.lua`,
  -- and so is all of it while that has something to do, which must come first. Returns whose is left.
  local function release_dependents(needed)
    -- part: waves
    local left, waiting, rest = 1000, redis.call('EXISTS', P .. 'waves') == 1, {}
    for _, id in ipairs(needed) do
      local more = true
      if not waiting and left > 0 then
        local released
        released, more = release_some(id, left, blocked, queued)
        left = left - released
      end
      if more then
        begin_wave('d', id)
        rest[#rest + 1] = id
      end
    end
    return rest
  end

  -- part: finishing
  results, at = finish_tasks(ARGV[at], at + 1)
else
  at = at + 1
end

if ARGV[at] ~= '' then
  local holds = set_of(held)
  -- part: held
  for token, id in string.gmatch(ARGV[at], '(%d+):([^\n]*)\n') do
    local state = held_state(id, token)
    if state and holds[state] then put_back(id, token, state, queued, blocked, '', false, 0, now) end
  end
  if redis.call('EXISTS', P .. 'waves') == 1 then results[#results + 1] = '2' end
end
at = at + 1

if has_new_route then version = redis.call('GET', P .. 'routes:version') end

-- The sets of tags of this call with the routes that each covers; made anew when a route came up since.
local sets, routes, tag_sets = {}, {}, tonumber(ARGV[at])
if covers_version == version then
  for i = 1, tag_sets do
    local covered = split(ARGV[at + 2 * i], '\n')
    table.remove(covered, 1)  -- Each follows a line feed, since one of them may be empty.
    sets[i] = {routes = covered}
  end
else
  local EMPTY_ROUTES_KEPT = 32

  -- Every route. Empty ones are kept, because they may fill again, until they are many.
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

  routes = all_routes()
  for i = 1, tag_sets do sets[i] = {routes = covered_routes(ARGV[at + 2 * i - 1], routes)} end
end
at = at + 1 + 2 * tag_sets

-- While paused the routes have no version: `hand_over`, which looks at nothing else, then does nothing.
local paused = (ARGV[at] ~= '' or covers_version ~= version) and redis.call('HGET', P .. 'settings', 'paused') == '1'
if paused then version = '' end

local granted, first_event
if repeated then
  -- What the call that this one repeats handed out, in the same form, and the number of its first event; nil
  -- when it was not carried out, or did neither. A task whose lease has ended since is left out: it is in
  -- line again.
  local function remembered(deadline)
    local its_number, first_event, first, indexes = string.match(memory, '^(%d+)|(%d*)|(%d*)|(.*)$')
    if its_number ~= number then return nil end
    local of_token, bodies, looked_up = {}, {}, {}
    for _, member in ipairs(redis.call('ZRANGE', P .. 'lease', 0, -1)) do
      local token, id = string.match(member, '^(%d+):(.*)$')
      of_token[token] = id
    end
    for i in ipairs(split(indexes, ',')) do
      local token = string.format('%d', tonumber(first) + i - 1)
      local id = of_token[token]
      bodies[i] = false
      if id then
        redis.call('ZADD', P .. 'lease', 'XX', deadline, token .. ':' .. id)
        bodies[i] = redis.call('GET', P .. 'b:' .. id)
        looked_up[#looked_up + 1] = i
        looked_up[#looked_up + 1] = tonumber(redis.call('HGET', task_key(id), 'attempt'))
        looked_up[#looked_up + 1] = redis.call('HGETALL', task_key(id))
      end
    end
    return {first, indexes, bodies, looked_up}, first_event
  end

  granted, first_event = remembered(deadline)
end
if not granted then
  granted, first_event = {'', '', {}, {}}, ''
  if ARGV[at] ~= '' and not paused then
    local waiters = {}
    for which, set, worker in string.gmatch(ARGV[at], '(%d+) (%d+) ([^\n]*)\n') do
      waiters[#waiters + 1] = {which = which, set = sets[tonumber(set)], worker = worker}
    end

    -- The heads of a route: tasks by score, read in steps as they are needed.
    -- `first` is the first that is not handed out; `whole`: nothing is left on the server behind the last.
    local heads = {}

    local function read_on(head, count)
      local ids, scores, from = head.ids, head.scores, #head.ids
      local raw = redis.call('ZRANGE', P .. 'r:' .. head.route, from, from + count - 1, 'WITHSCORES')
      for i = 1, #raw, 2 do
        ids[#ids + 1] = raw[i]
        scores[#ids] = tonumber(raw[i + 1])
      end
      head.whole = #raw < 2 * count
      if any_writes and #raw > 0 then
        for i, writes in ipairs(in_chunks('HMGET', P .. 'writes', {unpack(ids, from + 1)})) do
          head.writes[from + i] = writes
        end
      end
    end

    -- The heads that a set of tags covers.
    local function heads_of(set)
      set.heads = {}
      for n, route in ipairs(set.routes) do
        if not heads[route] then
          heads[route] = {route = route, ids = {}, scores = {}, writes = {}, taken = {}, first = 1, taken_behind = 0,
            whole = false}
          read_on(heads[route], math.ceil(#waiters / #set.routes) + (any_writes and look or 1))
        end
        set.heads[n] = heads[route]
      end
      return set.heads
    end

    local function grant_of(waiter, head, place)
      return {which = waiter.which, worker = waiter.worker, id = head.ids[place], writes = head.writes[place]}
    end

    -- To each waiter the task with the lowest score.
    local function hand_out()
      local grants = {}
      for _, waiter in ipairs(waiters) do
        local best, best_score
        for _, head in ipairs(waiter.set.heads or heads_of(waiter.set)) do
          if not head.whole and head.first > #head.ids then read_on(head, look + 1) end
          local score = head.scores[head.first]
          if score and not (best and best_score <= score) then best, best_score = head, score end
        end
        if best then
          grants[#grants + 1] = grant_of(waiter, best, best.first)
          best.first = best.first + 1
        end
      end
      return grants
    end

    -- part: around_writes

    -- part: leasing

    local grants = (any_writes and hand_out_around_writes or hand_out)()
    if #grants > 0 then granted = grant_leases(grants, deadline) end
  end
  at = at + 1
  local groups = tonumber(ARGV[at])
  if groups > 0 then
    local total = 0
    for i = 1, groups do total = total + ARGV[at + 2 * i - 1] end
    local spare_epoch, kept = ARGV[at + 1 + 2 * groups], tonumber(ARGV[at + 2 + 2 * groups])
    if not epoch then
      epoch = spare_epoch
      redis.call('SET', P .. 'epoch', epoch)
    end
    local last = redis.call('INCRBY', P .. 'events:last', total)
    -- A replica that took over may not have heard of the newest: what was told under a number stays its own.
    local told_epoch, told = ARGV[at + 3 + 2 * groups], tonumber(ARGV[at + 4 + 2 * groups])
    if epoch == told_epoch and last - total < told then
      last = redis.call('INCRBY', P .. 'events:last', told - (last - total))
    end
    local number_of = last - total
    first_event = string.format('%d', number_of + 1)
    for i = 1, groups do
      number_of = number_of + ARGV[at + 2 * i - 1]
      redis.call('XADD', P .. 'events', 'MINID', '~', string.format('%d', math.max(0, last - kept)),
        string.format('%d-0', number_of), 'e', ARGV[at + 2 * i])
    end
  end
  if granted[1] ~= '' or groups > 0 or repeated then
    -- part: reply
    remember(reply_key, number, first_event, granted[1], granted[2])
  end
end
local words = table.concat(
  {table.concat(results), deadline, granted[1], granted[2], version, epoch or '', first_event}, '|')
if #granted[4] + #found + #routes == 0 then return finish({words, granted[3]}) end
return finish({words, granted[3], granted[4], found, routes})
