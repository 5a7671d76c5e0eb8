-- Put where `dispatch.lua` hands out. `waiters`, `heads_of`, `read_on` and `grant_of` are the caller's.
-- As `hand_out`, where tasks declare what they write: among the first few of each route, one whose writes no
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
