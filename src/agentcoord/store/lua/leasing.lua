-- Put where `dispatch.lua` has chosen who gets what: takes it from the lines, and leases it.
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
local function grant_leases(grants, deadline)
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
