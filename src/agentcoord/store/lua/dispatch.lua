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
--       with events: the epoch to begin if their log is new, about how many to keep
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
--       epoch their numbers start at 1 and have no holes; an entry of the log holds one group of them, and
--       its id is the number of its last.
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

  local function finish_tasks(lines, at)
    local results, ids, members, states, words, count = {}, {}, {}, {}, {}, 0
    for state, how_many, member, id in string.gmatch(lines, '(%S+) (%d+) (%d+:([^\n]*))\n') do
      count = count + 1
      ids[count], members[count], states[count], words[count] = id, member, state, how_many
    end
    local leased, moved = in_chunks('ZMSCORE', P .. 'lease', members), in_chunks('HMGET', P .. 'held', ids)
    local ended, ended_members, at_of, any_moved = {}, {}, {}, false
    for i = 1, count do
      local id, expected, from = ids[i], states[i], at
      if words[i] ~= '0' then at = at + words[i] end
      local mine = leased[i] and not at_of[id]
      if mine and (moved[i] or running) ~= expected then
        mine = redis.call('HGET', task_key(id), 'state') == expected
      end
      if mine then
        if moved[i] then
          any_moved = true
          move_state(id, expected, done, 'ended_at', ARGV[1], 'why', '', unpack(ARGV, from, at - 1))
        else  -- A claim leaves no why, only a move does.
          move_state(id, expected, done, 'ended_at', ARGV[1], unpack(ARGV, from, at - 1))
        end
        ended[#ended + 1] = id
        ended_members[#ended] = members[i]
        at_of[id] = i
        results[i] = '1'
      else
        local task = redis.call('HMGET', task_key(id), 'state', 'token')
        results[i] = task[1] == done and (task[2] or '') .. ':' .. id == members[i] and '1' or '0'
        -- The answer that said 2 may be the one that was lost.
        if repeated and results[i] == '1' and redis.call('EXISTS', P .. 'waves') == 1 then results[i] = '2' end
      end
    end
    in_chunks('ZREM', P .. 'lease', ended_members)
    if any_moved then in_chunks('HDEL', P .. 'held', ended) end
    if any_writes then
      in_chunks('HDEL', P .. 'busy', ended)
      in_chunks('HDEL', P .. 'writes', ended)
    end
    local needed = {}
    for i, has in ipairs(in_chunks('SMISMEMBER', P .. 'hd', ended)) do
      if has == 1 then needed[#needed + 1] = ended[i] end
    end
    if #needed > 0 then
      for _, id in ipairs(release_dependents(needed)) do results[at_of[id]] = '2' end
    end
    return results, at
  end
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

    -- The same where tasks declare what they write: among the first few of each route, one whose writes no
    -- running task declares or has locked goes before all others. `taken_behind`: how many behind the first
    -- are handed out.
    local function hand_out_around_writes()
      -- Declared writes, one a line: '=path' is one file, '^prefix' any path that begins so.
      local busy_paths, busy_prefixes, anyone_busy, knows_locks = {}, {}, false, false

      local function mark_busy(writes)
        for _, line in ipairs(split(writes, '\n')) do
          anyone_busy = true
          local rest = string.sub(line, 2)
          if string.sub(line, 1, 1) == '=' then busy_paths[rest] = true else busy_prefixes[rest] = true end
        end
      end

      -- Also of files that nobody declared; the lock of a holder whose lease has ended is anybody's.
      local function mark_locked()
        local locks, paths, members = redis.call('HGETALL', P .. 'locks'), {}, {}
        for i = 1, #locks, 2 do
          local token, holder = string.match(locks[i + 1], '^(%d+):%d+:(.*)$')
          paths[#paths + 1] = locks[i]
          members[#paths] = token .. ':' .. holder
        end
        for i, deadline in ipairs(in_chunks('ZMSCORE', P .. 'lease', members)) do
          if deadline then busy_paths[paths[i]], anyone_busy = true, true end
        end
      end

      local function begins(text, prefix) return string.sub(text, 1, #prefix) == prefix end

      local function collides(writes)
        if not writes then return false end
        if not knows_locks then
          mark_locked()
          knows_locks = true
        end
        if not anyone_busy then return false end
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

      -- Makes sure that the n-th task that is not handed out is there, unless the line is shorter.
      local function reach(head, n)
        local last = head.first + head.taken_behind + n - 1
        if not head.whole and last > #head.ids then read_on(head, look + n) end
      end

      local function choose(own_heads)
        local any, any_at, any_score, free, free_at, free_score
        for _, head in ipairs(own_heads) do
          local place, seen = head.first, 0
          if head.ids[place] and (not any or head.scores[place] < any_score) then
            any, any_at, any_score = head, place, head.scores[place]
          end
          while seen < look and head.ids[place] and not (free and head.scores[place] >= free_score) do
            if not head.taken[place] then
              seen = seen + 1
              if not collides(head.writes[place]) then
                free, free_at, free_score = head, place, head.scores[place]
                break
              end
            end
            place = place + 1
          end
        end
        if free and free_score - any_score <= passed_over then return free, free_at end
        return any, any_at
      end

      local function take(head, place)
        head.taken[place] = true
        head.taken_behind = head.taken_behind + 1
        while head.taken[head.first] do
          head.first = head.first + 1
          head.taken_behind = head.taken_behind - 1
        end
      end

      for _, writes in ipairs(redis.call('HVALS', P .. 'busy')) do mark_busy(writes) end
      local grants = {}
      for _, waiter in ipairs(waiters) do
        local own_heads = waiter.set.heads or heads_of(waiter.set)
        for _, head in ipairs(own_heads) do reach(head, look) end
        local head, place = choose(own_heads)
        if head then
          take(head, place)
          grants[#grants + 1] = grant_of(waiter, head, place)
          if head.writes[place] then mark_busy(head.writes[place]) end
        end
      end
      return grants
    end

    -- Takes what was handed out from the lines: the first of each, and others where some were passed over.
    local function take_from_lines()
      for _, head in pairs(heads) do
        local key = P .. 'r:' .. head.route
        if head.first > 1 then redis.call('ZREMRANGEBYRANK', key, 0, head.first - 2) end
        if head.taken_behind > 0 then
          local behind = {}
          for place in pairs(head.taken) do
            if place > head.first then behind[#behind + 1] = head.ids[place] end
          end
          in_chunks('ZREM', key, behind)
        end
      end
    end

    -- Returns what the answer and the memory say of it: token of the first, csv of waiters, bodies, looked up.
    local function lease(grants, deadline)
      local first = redis.call('INCRBY', P .. 'fence', #grants) - #grants + 1
      local leases, busy, indexes, body_keys = {}, {}, {}, {}
      for i, grant in ipairs(grants) do body_keys[i] = P .. 'b:' .. grant.id end
      local bodies, looked_up = redis.call('MGET', unpack(body_keys)), {}
      for i, grant in ipairs(grants) do
        local id, key, token = grant.id, task_key(grant.id), string.format('%d', first + i - 1)
        leases[2 * i - 1], leases[2 * i] = deadline, token .. ':' .. id
        indexes[i] = grant.which
        if grant.writes then
          busy[#busy + 1] = id
          busy[#busy + 1] = grant.writes
        end
        if bodies[i] and says_all(bodies[i]) then
          redis.call('HSET', key, 'state', running, 'token', token, 'worker', grant.worker, 'attempt', '1',
            'started_at', ARGV[1])
        else
          local fields, before = redis.call('HGETALL', key), redis.call('HMGET', key, 'attempt', 'started_at')
          local attempt = tonumber(before[1] or '0') + 1
          looked_up[#looked_up + 1] = i
          looked_up[#looked_up + 1] = attempt
          looked_up[#looked_up + 1] = fields
          redis.call('HSET', key, 'state', running, 'token', token, 'worker', grant.worker, 'attempt', attempt,
            'why', '', 'started_at', before[2] or ARGV[1])
        end
      end
      tally[queued] = (tally[queued] or 0) - #grants
      tally[running] = (tally[running] or 0) + #grants
      in_chunks('ZADD', P .. 'lease', leases)
      in_chunks('HSET', P .. 'busy', busy)
      take_from_lines()
      return {string.format('%d', first), table.concat(indexes, ','), bodies, looked_up}
    end

    local grants = (any_writes and hand_out_around_writes or hand_out)()
    if #grants > 0 then granted = lease(grants, deadline) end
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
